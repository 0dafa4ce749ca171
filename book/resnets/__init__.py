"""The library that the chapters of the course share.

Imports go down only: weights → experiments → runs, check → training → models, probes → data,
plots → device, files → processes.
"""

__version__ = "0.1.0"
