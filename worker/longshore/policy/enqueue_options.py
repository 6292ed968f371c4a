"""The options of a periodic entry as text, as Asynq's readers (CLI, asynqmon) show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

from longshore.protocol.go_duration import format_go_duration
from longshore.protocol.periodic import PeriodicTaskTemplate


def render_options(task: PeriodicTaskTemplate) -> tuple[str, ...]:
    """The queue, and each option that was given. Always with parentheses: a reader panics on a text without."""
    options = [f"Queue({_quoted(task.queue)})"]
    if task.max_retry is not None:
        options.append(f"MaxRetry({task.max_retry})")
    durations: Mapping[str, timedelta | None] = {
        "Timeout": task.timeout,
        "Unique": task.unique_for,
        "Retention": task.retention,
    }
    options += [f"{name}({format_go_duration(value)})" for name, value in durations.items() if value]
    options += [f"Header([{_quoted(key)},{_quoted(value)}])" for key, value in task.headers.items()]
    return tuple(options)


def _quoted(text: str) -> str:
    # For what names are made of, JSON's quoting and Go's are the same.
    return json.dumps(text, ensure_ascii=False)
