"""The command line: `PYTHONPATH=dev python -m localcluster …`, what the make targets call."""

from __future__ import annotations

import argparse
import sys

from localcluster import compile as components
from localcluster.errors import ClusterError
from localcluster.steps import say


def main() -> int:
    """Run one command; gives the exit code. A failure is its message and 1, not a traceback."""
    parser = argparse.ArgumentParser(prog="localcluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="compile the components; the first time takes minutes")
    build.add_argument("only", nargs="*", choices=[*components.BINARIES, []], metavar="NAME", help="only these")
    given = parser.parse_args()
    try:
        components.ensure(tuple(given.only) or components.EVERYTHING)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
