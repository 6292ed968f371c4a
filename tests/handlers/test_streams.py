"""Whether watches live.

Proved on a real HTTP server: a stream that is cut and not reopened, one that falls silent, and one that never came are
each named; one that is read is not. Left out: kopf, and the API server's own bookmarks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from handlers.waiting import until
from longshore_operator.cluster.streams import WatchStreams

PATH = "/api/v1/pods"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Streams a line each time it is told to."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.url = ""

    async def watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while (line := await self.lines.get()) is not None:
            await response.write(line)
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_get(PATH, server.watch)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}{PATH}"
    yield server
    await runner.cleanup()


async def test_each_way_for_a_watch_to_die_is_noticed_and_a_living_one_is_left_in_peace(server: Server) -> None:
    clock = Clock()
    streams = WatchStreams({PATH: "pods"}, clock=clock, reopen_within_s=30, silent_at_most_s=180)
    assert streams.problems() == []
    clock.now += 31
    assert streams.problems() == ["nobody has watched pods for 31 s"]

    async with aiohttp.ClientSession(middlewares=(streams,)) as session:
        async with session.get(server.url, params={"watch": "true"}) as response:
            assert streams.problems() == []
            assert streams.open == ["pods"]
            for _ in range(5):
                clock.now += 100
                await server.lines.put(b"bookmark\n")
                await response.content.readany()
                assert streams.problems() == []
        assert streams.problems() == []
        assert streams.open == []
        clock.now += 31
        assert streams.problems() == ["nobody has watched pods for 31 s"]
        await server.lines.put(None)

        async with session.get(server.url, params={"watch": "true"}) as response:
            assert streams.problems() == []
            await server.lines.put(None)
            assert await response.content.read() == b""
        clock.now += 31
        assert streams.problems() == []
        clock.now += 31
        assert streams.problems() == ["nobody has watched pods for 31 s"]


async def test_a_silent_watch_is_cut_and_is_a_problem_when_the_next_one_is_silent_too(server: Server) -> None:
    clock = Clock()
    streams = WatchStreams({PATH: "pods"}, clock=clock)

    async with aiohttp.ClientSession(middlewares=(streams,), timeout=aiohttp.ClientTimeout(total=30)) as session:
        async with session.get(server.url, params={"watch": "true"}) as response:
            await server.lines.put(b"bookmark\n")
            await response.content.readany()
            streams.look()
            clock.now += 99
            assert streams.problems() == []
            clock.now += 2
            streams.look()
            with pytest.raises(aiohttp.ClientConnectionError):
                await response.content.readany()
        await server.lines.put(None)  # what is left of it at the server ends
        await until(server.lines.empty)
        assert streams.open == streams.problems() == []
        async with session.get(server.url, params={"watch": "true"}) as response:
            clock.now += 60
            assert streams.problems() == []
            clock.now += 20
            assert streams.problems() == ["the watch of pods has been silent for 181 s"]
            await server.lines.put(b"bookmark\n")
            await response.content.readany()
            assert streams.problems() == []
            await server.lines.put(None)


async def test_a_list_is_not_a_watch(server: Server) -> None:
    clock = Clock()
    streams = WatchStreams({PATH: "pods"}, clock=clock)
    async with aiohttp.ClientSession(middlewares=(streams,)) as session:
        await server.lines.put(None)
        async with session.get(server.url) as response:
            await response.read()
    clock.now += 31
    assert streams.problems() == ["nobody has watched pods for 31 s"]
