"""The ``longshore`` command: one command a file, and the only place that prints and exits."""

from longshore.cli.main import main

__all__ = ["main"]
