"""envproxy: a caching, verifying proxy for Python package repositories."""

__version__ = "0.1.0"
