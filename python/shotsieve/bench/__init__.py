"""Benchmarks of this machine: what ``shotsieve bench`` and the project's own ``benchmarks/`` measure with."""
