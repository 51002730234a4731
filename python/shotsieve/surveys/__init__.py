"""A survey: what the settings of a recipe cost, found on a sample of a run before anything is deleted."""

from .run import Survey, survey

__all__ = ["Survey", "survey"]
