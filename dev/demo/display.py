"""What the audience sees: a live view on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from demo.evidence import QueueCount
from demo.verdict import Check
from demo.watching import Object, Watched

PLAIN_EVERY_S = 3.0


@dataclass(kw_only=True)
class Scene:
    """What is true right now. The story changes it; a display shows it."""

    headline: str = ""
    queues: Mapping[str, QueueCount] = field(default_factory=dict)
    watched: Watched = field(default_factory=Watched)


class Display(AbstractContextManager["Display"], Protocol):
    """Shows a scene from time to time, until its block ends."""

    def refresh(self, scene: Scene) -> None:
        """Show it if it is time to."""


def display(*, plain: bool) -> Display:
    """Choose by the terminal: a live view needs one."""
    return PlainDisplay() if plain or not sys.stdout.isatty() else LiveDisplay()


class LiveDisplay:
    """Tables that change in place."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._live = Live(console=Console(), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.__exit__(None, None, None)

    def refresh(self, scene: Scene) -> None:
        title = Text(f"{time.monotonic() - self._begun:5.0f} s  {scene.headline}", style="bold")
        parts: list[RenderableType] = [title, _queues(scene), _pools(scene), _periodic(scene)]
        self._live.update(Group(*parts), refresh=True)


class PlainDisplay:
    """One line every few seconds, and whenever the headline changes."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._begun = time.monotonic()
        self._shown_at = float("-inf")
        self._headline = ""
        self._write = write or (lambda line: print(line, flush=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def refresh(self, scene: Scene) -> None:
        now = time.monotonic()
        if scene.headline != self._headline:
            self._headline = scene.headline
            self._write(f"{now - self._begun:5.0f} s  {scene.headline}")
        elif now - self._shown_at >= PLAIN_EVERY_S:
            self._write(f"{now - self._begun:5.0f} s    {line(scene, datetime.now(UTC))}")
        else:
            return
        self._shown_at = now


def line(scene: Scene, now: datetime) -> str:
    """Write the scene in one line."""
    queues = [
        f"{name} {count.pending} waiting {count.active} running {count.completed} done"
        for name, count in scene.queues.items()
    ]
    pools = [
        f"{name} {_status(pool, 'desiredReplicas')}/{_status(pool, 'readyReplicas')}/{_status(pool, 'busyReplicas')}"
        for name, pool in sorted(scene.watched.pools.items())
    ]
    ticks = [f"{name} {_until(task, now)}" for name, task in sorted(scene.watched.periodic.items())]
    return f"{' · '.join(queues)} | desired/ready/busy: {', '.join(pools)} | next: {', '.join(ticks)}"


def summary(checks: tuple[Check, ...]) -> Group:
    """Render the verdict."""
    table = Table(show_header=False, box=None, padding=(0, 1))
    for check in checks:
        mark = Text("✓", style="bold green") if check.passed else Text("✗", style="bold red")
        table.add_row(mark, Text(check.claim, style="bold"), Text(check.detail, style="" if check.passed else "red"))
    return Group(Text("What was verified", style="bold"), table)


def _queues(scene: Scene) -> Table:
    table = Table(
        "queue", *_numbers("waiting", "running", "retry", "done"), box=None, title_justify="left", pad_edge=True
    )
    for name, count in scene.queues.items():
        row = (count.pending, count.active, count.retry + count.archived, count.completed)
        table.add_row(name, *(str(number) for number in row))
    return table


def _pools(scene: Scene) -> Table:
    table = Table("pool", *_numbers("desired", "ready", "busy"), "decision", box=None)
    for name, pool in sorted(scene.watched.pools.items()):
        numbers = (_status(pool, field) for field in ("desiredReplicas", "readyReplicas", "busyReplicas"))
        table.add_row(name, *numbers, str(pool.get("status", {}).get("decision", "")))
    return table


def _periodic(scene: Scene) -> Table:
    table = Table("periodic", "schedule", "next tick", "last tick", box=None)
    now = datetime.now(UTC)
    for name, task in sorted(scene.watched.periodic.items()):
        last = task.get("status", {}).get("lastTick", "")
        table.add_row(name, task["spec"]["schedule"], _until(task, now), last[11:19])
    return table


def _numbers(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _status(pool: Object, name: str) -> str:
    return str(pool.get("status", {}).get(name, 0))


def _until(task: Object, now: datetime) -> str:
    if task["spec"].get("suspend"):
        return "suspended"
    text = task.get("status", {}).get("nextTick")
    if not text:
        return "unknown"
    seconds = max(0, round((datetime.fromisoformat(text) - now).total_seconds()))
    return f"in {seconds} s" if seconds < 600 else f"in {seconds // 3600} h {seconds % 3600 // 60:02d} min"
