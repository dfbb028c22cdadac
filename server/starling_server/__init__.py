"""The completion engine and its HTTP face."""

__version__ = "0.1.0"
