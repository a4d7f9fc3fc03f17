"""refreshd: the daemon that keeps the code of a sandbox machine fresh."""

__version__ = "0.1.0"
