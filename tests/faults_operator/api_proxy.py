"""A proxy in front of the real API server that makes it fail: TLS with its own certificate, streaming, a full journal.

It passes on what no fault concerns, byte for byte. Faults may be changed at any time and hold at once, for watches that
are open, too.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
import yaml
from aiohttp import web

from localcluster.access import Access

AGENT = "through-the-proxy"  # what the audit log calls those who came this way
_PASSED_ON = ("Authorization", "Content-Type", "Accept")
_PASSED_BACK = ("Content-Type", "Retry-After")
_LEASE = "/leases"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request, and what came of it."""

    at: float  # time.monotonic() when it came
    method: str
    path: str
    watch: bool
    status: int  # 0: no answer

    @property
    def writes(self) -> bool:
        """Whether it would change something other than the Lease."""
        return self.method != "GET" and _LEASE not in self.path

    @property
    def what(self) -> str:
        """For counts and messages: the method and the collection."""
        parts = [part for part in self.path.split("/") if part]
        after = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
        return f"{'WATCH' if self.watch else self.method} {'/'.join(after[:1] + after[2:])}"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to the requests that ``on`` picks (given method, path and whether it is a watch)."""

    on: Callable[[str, str, bool], bool] = lambda _method, _path, _watch: True
    status: int | None = None  # answered at once with this, instead of by the API server
    message: str = "made to fail"
    reason: str = "InternalError"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0  # before it is passed on
    silent: bool = False  # of an open watch: nothing comes any more; of a request: it is not passed on either
    unanswered: bool = False  # it is passed on and done, and no answer comes

    def body(self) -> str:
        return json.dumps(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": self.message,
                "reason": self.reason,
                "code": self.status,
            }
        )


def but_the_lease(_method: str, path: str, _watch: bool) -> bool:
    """Everything besides leader election."""
    return _LEASE not in path


def writes(method: str, path: str, _watch: bool) -> bool:
    """What changes anything, besides leader election."""
    return method != "GET" and _LEASE not in path


def watches_of(*plurals: str) -> Callable[[str, str, bool], bool]:
    """The watches of these collections, and the lists that kopf makes before them; of all when none is given."""
    return lambda method, path, watch: (
        method == "GET" and (watch or bool(plurals)) and (not plurals or path.rsplit("/", 1)[-1] in plurals)
    )


class ApiProxy:
    """Serves in a thread of its own, so that a test may block."""

    def __init__(self, access: Access) -> None:
        self.upstream: str = yaml.safe_load(access.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        self.url = ""
        self._keys = access.folder / "keys"
        self._loop = asyncio.new_event_loop()
        self._faults: tuple[Fault, ...] = ()
        self._changed = asyncio.Event()
        self._watches: dict[web.StreamResponse, str] = {}
        self._session: aiohttp.ClientSession | None = None
        self.journal: list[Asked] = []
        self.unanswered = 0  # requests that were done and not answered, because of a fault

    # -- what a test does --------------------------------------------------------------------------------------------

    @contextmanager
    def fault(self, *faults: Fault) -> Iterator[None]:
        """Let these faults happen for the length of a block; the first that picks a request counts."""
        self._set(faults)
        try:
            yield
        finally:
            self._set(())

    def cut_watches(self, *plurals: str) -> int:
        """Cut open watches in the middle, of these collections or of all. How many there were."""

        async def cut() -> int:
            found = [each for each, path in self._watches.items() if not plurals or path.rsplit("/", 1)[-1] in plurals]
            for response in found:
                transport = response._req.transport if response._req is not None else None
                if transport is not None:
                    transport.abort()
            return len(found)

        return asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def tell_watches(self, line: Mapping[str, object], *plurals: str) -> int:
        """Say something in the API server's place on open watches; to how many."""

        async def tell() -> int:
            found = [each for each, path in self._watches.items() if path.rsplit("/", 1)[-1] in plurals]
            for response in found:
                await response.write(json.dumps(line).encode() + b"\n")
            return len(found)

        return asyncio.run_coroutine_threadsafe(tell(), self._loop).result(10)

    def since(self, start: float, pick: Callable[[Asked], bool] = lambda _: True) -> list[Asked]:
        """What was asked since a moment of time.monotonic()."""
        return [each for each in list(self.journal) if each.at >= start and pick(each)]

    def counts(self, start: float, pick: Callable[[Asked], bool] = lambda _: True) -> Counter[str]:
        """The same, counted by method and collection."""
        return Counter(each.what for each in self.since(start, pick))

    # -- serving -----------------------------------------------------------------------------------------------------

    @contextmanager
    def serving(self) -> Iterator[ApiProxy]:
        """Serve for the length of a block."""
        thread = threading.Thread(target=self._loop.run_forever, name="api proxy", daemon=True)
        thread.start()
        runner: web.AppRunner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._end(runner), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._loop.close()

    async def _start(self) -> web.AppRunner:
        trust = ssl.create_default_context(cafile=str(self._keys / "ca.crt"))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=0), timeout=aiohttp.ClientTimeout(), read_bufsize=2**20
        )
        identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        identity.load_cert_chain(self._keys / "server.crt", self._keys / "server.key")
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(
            application, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=identity).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _end(self, runner: web.AppRunner) -> None:
        self._faults = ()
        self._changed.set()
        await runner.cleanup()
        assert self._session is not None
        await self._session.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _set(self, faults: tuple[Fault, ...]) -> None:
        def change() -> None:
            self._faults = faults
            self._changed.set()
            self._changed = asyncio.Event()

        self._loop.call_soon_threadsafe(change)

    def _fault(self, method: str, path: str, watch: bool) -> Fault | None:
        return next((each for each in self._faults if each.on(method, path, watch)), None)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        asked = request.method, request.path, request.query.get("watch") == "true"
        status = 0
        try:
            response = await self._answer(request, *asked)
            status = response.status
            return response
        finally:
            method, path, watch = asked
            # A watch is noted when it ends; its beginning is what matters, so that is its time.
            self.journal.append(Asked(at=at, method=method, path=path, watch=watch, status=status))

    async def _answer(self, request: web.Request, method: str, path: str, watch: bool) -> web.StreamResponse:
        body = await request.read()
        fault = self._fault(method, path, watch)
        while fault is not None and fault.silent:
            await self._changed.wait()
            fault = self._fault(method, path, watch)
        if fault is not None and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault is not None and fault.status is not None:
            return web.Response(
                status=fault.status, text=fault.body(), content_type="application/json", headers=fault.headers
            )
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                self.upstream + str(request.rel_url),
                data=body or None,
                headers={
                    "User-Agent": AGENT,
                    **{name: request.headers[name] for name in _PASSED_ON if name in request.headers},
                },
            ) as answer:
                headers = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
                if fault is not None and fault.unanswered:
                    self.unanswered += 1
                    await self._changed.wait()
                if not watch:
                    return web.Response(status=answer.status, body=await answer.read(), headers=headers)
                return await self._stream(request, answer, headers)
        except aiohttp.ClientError:
            # The API server itself is not there: to its client, the connection breaks.
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPBadGateway from None

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        self._watches[response] = request.path
        try:
            async for chunk in answer.content.iter_any():
                while (fault := self._fault(request.method, request.path, True)) is not None and fault.silent:
                    await self._changed.wait()
                await response.write(chunk)
        finally:
            del self._watches[response]
        return response
