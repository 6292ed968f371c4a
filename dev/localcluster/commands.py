"""Running a short program to its end."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster.errors import ClusterError


def run(
    argv: Sequence[str | Path],
    *,
    input: str | None = None,  # noqa: A002 - subprocess's own word for it
    env: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> str:
    """Run a program and give its standard output.

    `env` is added to the current environment. Raises ClusterError with the program's own words when it fails, when it
    is not installed, or when it takes longer than `timeout_s` seconds.
    """
    words = [str(word) for word in argv]
    shown = shlex.join(words)
    try:
        done = subprocess.run(
            words,
            input=input,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed (needed for: {shown})") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"took longer than {timeout_s:.0f} s: {shown}") from error
    if done.returncode != 0:
        # What led to the error often stands on standard output, as with a step of an image build.
        words_of_it = [stream.strip()[-4000:] for stream in (done.stdout, done.stderr) if stream.strip()]
        raise ClusterError("\n".join([f"failed with {done.returncode}: {shown}", *words_of_it]))
    return done.stdout
