"""What a person sees while things happen: one line a step, with its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# The harness prints to stderr, so that a command's result on stdout (a path, a status) can be piped.


def say(line: str) -> None:
    """Print one line at once, also when the output is a file."""
    print(line, file=sys.stderr, flush=True)


def elapsed(seconds: float) -> str:
    """Write a duration as people say it: 4.2 s, 3 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print what begins, and how long it took once it is done; a failure is left to the caller's error message."""
    say(f"· {title} …")
    begun = time.monotonic()
    yield
    say(f"✓ {title} ({elapsed(time.monotonic() - begun)})")
