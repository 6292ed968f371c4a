"""Serves ``/metrics`` on an address of its own: a scraper needs no way to the probes, nor the kubelet one to here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector

from longshore.metrics.exposition import CONTENT_TYPE, written
from longshore_operator.cluster.client import ApiClient
from longshore_operator.metrics.leading import Leading
from longshore_operator.metrics.objects import Seen, broker_families, object_families, see
from longshore_operator.metrics.work import replica_families, work_families
from longshore_operator.probes import listen


class Exposition:
    """One a process. ``leading`` is set while the process leads; a standby answers, too, with less."""

    def __init__(self, client: ApiClient, *, is_leading: Callable[[], bool]) -> None:
        self.leading: Leading | None = None
        self._client = client
        self._is_leading = is_leading
        self._one_at_a_time = asyncio.Lock()
        nowhere = CollectorRegistry()
        self._of_any_process = (ProcessCollector(registry=nowhere), PlatformCollector(registry=nowhere))

    async def serve(self, host: str, port: int) -> web.AppRunner:
        """Listen until ``cleanup()`` of the result. Raises SettingsError when the address cannot be used."""
        application = web.Application()
        application.router.add_get("/metrics", self._answer)
        return await listen(application, host, port, flag="--metrics-address")

    async def answer(self) -> bytes:
        """The exposition as it is now."""
        families = replica_families(self._client, leading=self._is_leading())
        seen, leading = None, self.leading
        if leading is not None:
            leading.memory.wanted()
            families += work_families(leading) + broker_families(leading, datetime.now(UTC))
            seen = see(leading)
        return await asyncio.to_thread(self._write, families, seen)

    def _write(self, families: list[Metric], seen: Seen | None) -> bytes:
        """In a thread: thousands of objects take a good part of a second, and decisions need not wait for it."""
        rest = [] if seen is None else object_families(seen)
        ours = (metric for each in self._of_any_process for metric in each.collect())
        return written([*ours, *families, *rest])

    async def _answer(self, _request: web.Request) -> web.StreamResponse:
        async with self._one_at_a_time:
            body = await self.answer()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
