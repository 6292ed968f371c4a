"""Handlers for processes of their own, which find them by module and name; and what these report to the tests."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from longshore import App, Context, RevokeTask, SkipRetry

app = App()


class Unwilling(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


class Known(Exception):
    """Can be."""


@app.task("square", process=True)
def square(payload: int) -> int:
    return payload * payload


@app.task("pid", process=True)
def pid(payload: str) -> int:
    Path(payload).write_text(str(os.getpid()))
    return os.getpid()


@app.task("facts", process=True)
def facts(ctx: Context[Any]) -> dict[str, Any]:
    ctx.logger.warning("said %s", "aloud", extra={"shade": "blue"})
    return {
        "id": ctx.task_id,
        "type": ctx.type,
        "queue": ctx.queue,
        "retried": ctx.retried,
        "max_retry": ctx.max_retry,
        "headers": dict(ctx.headers),
        "cancelled": ctx.cancelled,
        "deadline": ctx.deadline.isoformat(),
        "main_thread": threading.current_thread() is threading.main_thread(),
    }


@app.task("write", process=True)
def write(ctx: Context[Any]) -> None:
    assert ctx.progress_from_thread({"done": 1, "of": 2})
    assert ctx.write_result_from_thread("from afar")
    assert ctx.progress_from_thread(1)


@app.task("state", process=True)
def state(ctx: Context[Any]) -> None:
    print(ctx.state)


@app.task("raise", process=True)
def raise_it(payload: str) -> None:
    match payload:
        case "known":
            raise Known("this and that")
        case "unwilling":
            raise Unwilling("half", "way")
        case "skip":
            try:
                raise SkipRetry("never again")
            except SkipRetry as signal_:
                raise ValueError("wrapped") from signal_
        case "revoke":
            raise RevokeTask
        case "exit":
            sys.exit(3)


@app.task("lambda", process=True)
def return_lambda() -> Any:
    return lambda: None


@app.task("die", process=True)
def die(payload: str) -> None:
    if payload == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def _announce(path: str) -> None:
    Path(path + ".new").write_text(str(os.getpid()))
    Path(path + ".new").rename(path)


@app.task("spin", process=True)
def spin(payload: str) -> None:
    """Keeps a CPU busy in Python code, until it is told to end."""
    _announce(payload)
    try:
        while True:
            time.sleep(0.001)
    finally:
        Path(payload + ".cleaned").touch()


@app.task("deaf", process=True)
def deaf(payload: str) -> None:
    """Swallows every attempt to end it; has a program of its own running."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(payload + ".program").write_text(str(program.pid))
    _announce(payload)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            logging.getLogger("deaf").warning("not listening")
