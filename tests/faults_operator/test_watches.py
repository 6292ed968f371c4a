"""Watches that die, each in another way, under an operator whose process the test can see into.

Proved: a watch that is cut is opened anew; a deletion that a watch missed (410 Gone) is found by the next full list;
one that falls silent is cut and opened anew; a kind that may not be watched any more (403) fails /livez by its name,
and ends the process when it lasts. The waits are shortened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults_operator.api_proxy import ApiProxy, Fault, watches_of
from handlers.harness import Namespace, OperatorProcess, broker, queue
from longshore_operator import process
from longshore_operator.cluster import streams
from longshore_operator.cluster.resources import WATCHED
from longshore_operator.errors import WatchEnded
from longshore_operator.handlers import watcher
from longshore_operator.settings import Settings

pytestmark = pytest.mark.cluster


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for what happens beside this event loop; the condition may block."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it is another process' state
            await asyncio.sleep(0.1)


async def test_watches_that_are_cut_too_old_or_silent_are_opened_anew_and_a_forbidden_one_ends_the_process(
    namespace: Namespace,
    proxy: ApiProxy,
    tmp_path: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    judges: list[streams.WatchStreams] = []

    class Judge(streams.WatchStreams):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            judges.append(self)

    monkeypatch.setattr(watcher, "WatchStreams", Judge)
    monkeypatch.setattr(streams, "REOPEN_WITHIN_S", 3.0)
    monkeypatch.setattr(watcher, "ERROR_BACKOFFS_S", (0.5, 1.0, 2.0, 2.0))
    outside = OperatorProcess(namespace, tmp_path, server=proxy.url)
    monkeypatch.setenv("KUBECONFIG", str(outside._kubeconfig()))
    settings = Settings.parse(
        namespace=namespace.name,
        watch_namespace=namespace.name,
        image="longshore:test",
        identity="here",
        health_address=f"127.0.0.1:{outside.port}",
        full_list_seconds=5.0,
    )
    running = asyncio.create_task(process.run(settings))

    async def becomes_ready(name: str) -> None:
        await eventually(lambda: namespace.condition("Queue", name) == ("True", "OK"))

    async def say(kind: Callable[..., object], *args: object) -> None:
        await asyncio.to_thread(kind, *args)

    try:
        await say(namespace.apply, broker(redis_url))
        await say(namespace.apply, queue("first"))
        await becomes_ready("first")

        # Cut, all of them; what changes at that moment is seen.
        (judge,) = judges
        await eventually(lambda: len(judge.open) == len(WATCHED))
        assert await asyncio.to_thread(proxy.cut_watches) == len(WATCHED)
        await say(namespace.apply, queue("third"))
        await becomes_ready("third")

        # Too old: what was deleted is neither told nor in the list that kopf begins anew with.
        await eventually(lambda: len(judge.open) == len(WATCHED))
        with proxy.fault(Fault(on=lambda _method, path, watch: watch and path.endswith("/queues"), silent=True)):
            await say(namespace.delete, "Queue", "third")
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}
            assert await asyncio.to_thread(proxy.tell_watches, gone, "queues") == 1
            await eventually(lambda: [each for each in caplog.records if getattr(each, "action", "") == "repair"])
        (repair,) = (each for each in caplog.records if getattr(each, "action", "") == "repair")
        assert (repair.object, repair.gone) == ("Queue third", True)
        await eventually(lambda: (namespace.get("Broker", "default") or {})["status"]["queues"] == 1)

        # Silent: bytes stop, the connection stays.
        started_at = time.monotonic()
        with proxy.fault(Fault(on=lambda _method, _path, watch: watch, silent=True)):
            await say(namespace.apply, queue("fourth"))
            judge._cut_after_s = 3.0
            await eventually(lambda: not judge.open)
            judge._cut_after_s = streams.CUT_AFTER_S
        await becomes_ready("fourth")
        assert proxy.counts(started_at, lambda asked: asked.watch).total() <= 2 * len(WATCHED)

        # Forbidden, as when somebody has taken the right away.
        forbidden = Fault(on=watches_of("queues"), status=403, reason="Forbidden", message="queues is forbidden")
        await eventually(lambda: len(judge.open) == len(WATCHED))
        started_at = time.monotonic()
        with proxy.fault(forbidden):
            assert await asyncio.to_thread(proxy.cut_watches, "queues") == 1
            await eventually(lambda: "watcher: nobody has watched queues.longshore.dev" in outside.probe("/livez")[1])
            # kopf would wait for its other watches, which it leaves to themselves.
            await eventually(running.done)
        assert proxy.counts(started_at)["WATCH queues"] <= 6
        with pytest.raises(WatchEnded, match="the watcher failed: queues is forbidden"):
            await running
        lease = await asyncio.to_thread(namespace.get, "Lease", "longshore-operator")
        assert lease is not None
        assert not lease["spec"].get("holderIdentity")  # given back, for another to lead at once
        assert not [task for task in asyncio.all_tasks() if "watcher" in task.get_name()]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
