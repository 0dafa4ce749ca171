"""From the sources to what readers get: lone notebooks, and the site's own pages."""
