"""``GET /metrics``: what a worker's processes have counted, in Prometheus' text format. Needs the extra ``metrics``."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Sequence

from longshore.metrics.reading import OfProcess
from longshore.runtime.health import Page

METRICS = "/metrics"

_MISSING = Page(status=404, content=b"no metrics: they need prometheus-client; pip install 'longshore[metrics]'\n")


def can_be_served() -> bool:
    """Whether the extra is installed. Without it nothing is counted."""
    return importlib.util.find_spec("prometheus_client") is not None


def metrics_page(read: Callable[[], Awaitable[Sequence[OfProcess]]]) -> Callable[[], Awaitable[Page]]:
    """The page of the processes that ``read`` gives at the moment of the question; for the event loop's thread."""

    async def missing() -> Page:
        return _MISSING

    async def page() -> Page:
        # In a thread, and imported only when somebody asks: handlers need not wait for either.
        return await asyncio.to_thread(_written, await read())

    return page if can_be_served() else missing


def _written(processes: Sequence[OfProcess]) -> Page:
    from longshore.metrics.exposition import CONTENT_TYPE, worker_exposition

    return Page(status=200, content=worker_exposition(processes), content_type=CONTENT_TYPE)
