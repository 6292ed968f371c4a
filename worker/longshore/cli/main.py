"""The command group, and how its errors look: one line on stderr and a non-zero exit."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from longshore.cli.enqueue import enqueue
from longshore.cli.process import Terminated
from longshore.cli.scheduler import scheduler
from longshore.cli.worker import worker
from longshore.errors import LongshoreError


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="longshore", message="%(prog)s %(version)s")
def longshore() -> None:
    """Background jobs on Redis, in Asynq's own protocol."""


longshore.add_command(worker)
longshore.add_command(scheduler)
longshore.add_command(enqueue)


def main() -> NoReturn:
    """Run the command line.

    Exit codes: 0, also after SIGTERM; 1 for what failed, 2 for what was asked wrongly, 130 when interrupted.
    """
    try:
        # None when a command has ended by itself; an exit code after --help and --version
        code = longshore(prog_name="longshore", standalone_mode=False)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _give_up(error.format_message() + hint, 2)
    except click.ClickException as error:
        _give_up(error.format_message(), error.exit_code)
    except LongshoreError as error:
        _give_up(str(error), 2 if isinstance(error, ValueError) else 1)
    except Terminated:
        sys.exit(0)
    except (click.Abort, KeyboardInterrupt):
        _give_up("interrupted", 130)
    sys.exit(code if isinstance(code, int) else 0)


def _give_up(problem: str, code: int) -> NoReturn:
    click.echo(f"longshore: {' '.join(problem.split())}", err=True)
    sys.exit(code)
