"""The labs: figures of the site that the reader can change, and what they compute with."""
