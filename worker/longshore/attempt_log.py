"""A log line when an attempt begins and when it has succeeded, for those who want them."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from longshore.context import Context
from longshore.middleware import CallNext

_logger = logging.getLogger("longshore.task")


async def log_attempts(context: Context[Any], call_next: CallNext) -> Any:
    """A middleware that logs attempts: ``App(middleware=[longshore.log_attempts])``.

    ``task_started``, and ``task_succeeded`` with its ``seconds``, at level INFO. Failed attempts are logged anyway.
    """
    fields = {
        "queue": context.queue,
        "task_id": context.task_id,
        "task_type": context.type,
        "retried": context.retried,
    }
    _logger.info("A task has started", extra={"action": "task_started", **fields})
    started = monotonic()
    result = await call_next(context)
    seconds = round(monotonic() - started, 6)
    _logger.info("A task has succeeded", extra={"action": "task_succeeded", **fields, "seconds": seconds})
    return result
