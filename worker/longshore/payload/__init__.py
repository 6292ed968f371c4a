"""From a task's bytes to the value a handler's parameter asks for. Pure: no I/O."""

from longshore.payload.reader import Reader, reader_for

__all__ = ["Reader", "reader_for"]
