"""Every figure of the runtime, as a table, and written into docs/performance.md.

    python benchmarks/performance.py [--only throughput,memory] [--no-write]

The parts run one after the other, each alone on the machine. One that fails does not keep the others from being
measured. Ends with 1 when a bar is missed or a part failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import compare
import enqueue
import growth
import idle_commands
import in_flight
import memory
import pickup
from figures import Figure, table

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one of the scripts gave."""

    figures: Sequence[Figure]
    detail: str = ""  # a table of its own, in Markdown


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"parts to measure, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(PARTS)
    load = os.getloadavg()[0]
    parts = {name: part for name in names if (part := attempt(name)) is not None}
    figures = [figure for part in parts.values() for figure in part.figures]
    text = "\n\n".join([circumstances(load), table(figures), *(part.detail for part in parts.values() if part.detail)])
    print(f"\n{text}")
    if not arguments.no_write and len(parts) == len(PARTS):
        write(text)
    sys.exit(len(parts) < len(names) or not all(figure.ok for figure in figures))


def attempt(name: str) -> Part | None:
    """One part; None when it failed, which is told."""
    print(f"── {name}", flush=True)
    try:
        return PARTS[name]()
    except Exception:
        traceback.print_exc()
        return None


def circumstances(load: float) -> str:
    """What was measured on, and when."""
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    go = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({processor()}), "
        f"Linux {platform.release()}, "
        f"Python {platform.python_version()}, uvloop {installed('uvloop')}, hiredis {installed('hiredis')}, "
        f"Redis {redis.split('v=')[1].split()[0]}, Go {go.split()[2].removeprefix('go')}; "
        f"load of the machine before: {load:.1f}."
    )


def processor() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def installed(package: str) -> str:
    """A package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write(text: str, *, begin: str = BEGIN, end: str = END) -> None:
    """Put the text between two of the document's marks."""
    before, found_begin, rest = DOCUMENT.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise SystemExit(f"{DOCUMENT.name} has no {begin} … {end}")
    DOCUMENT.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _comparison() -> Part:
    rows = compare.compare(list(compare.PEERS), rounds=3)
    return Part(figures=compare.figures(rows), detail=compare.table(rows))


PARTS: dict[str, Callable[[], Part]] = {
    "throughput": _comparison,
    "enqueue": lambda: Part(figures=enqueue.measure()),
    "pickup": lambda: Part(figures=pickup.measure()),
    "idle_commands": lambda: Part(figures=idle_commands.measure()),
    "growth": lambda: Part(figures=growth.measure()),
    "in_flight": lambda: Part(figures=[in_flight.measure()]),
    "memory": lambda: Part(figures=[memory.measure()]),
}


if __name__ == "__main__":
    main()
