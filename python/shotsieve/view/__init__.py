"""A small local page to step through the kept shots of a reduced run."""

from .server import serve

__all__ = ["serve"]
