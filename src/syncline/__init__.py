"""Syncline keeps databases in sync: reads their change logs, applies each change once, proves the result."""

__version__ = "0.1.0"
