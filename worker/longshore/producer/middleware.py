"""What stands between a caller of the client and Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Protocol

from longshore.protocol.snapshots import TaskInfo
from longshore.task import Task


class EnqueueNext(Protocol):
    """Goes on with a task, the one that was given or another; raises what ``Client.enqueue`` raises."""

    def __call__(self, task: Task, /) -> Awaitable[TaskInfo]: ...


class EnqueueMiddleware(Protocol):
    """``async def middleware(task, call_next)``: sees each task before it is sent, with every option that holds for it.

    It may hand on another task (``task.with_options(headers={…})``), look at what comes back, or raise instead.
    """

    def __call__(self, task: Task, call_next: EnqueueNext, /) -> Awaitable[TaskInfo]: ...


def composed(middleware: Sequence[EnqueueMiddleware], innermost: EnqueueNext) -> EnqueueNext:
    """One call through all of them; the first is the outermost."""
    chain: EnqueueNext = innermost
    for each in reversed(middleware):
        chain = partial(_through, each, chain)
    return chain


async def _through(middleware: EnqueueMiddleware, call_next: EnqueueNext, task: Task) -> TaskInfo:
    return await middleware(task, call_next)
