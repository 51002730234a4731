"""One page about a reduced run, for whoever wants to see what was kept before anything is deleted."""

from .page import write_report

__all__ = ["write_report"]
