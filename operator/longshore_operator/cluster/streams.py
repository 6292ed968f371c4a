"""Whether the watcher still hears the API server: it looks at the watch streams themselves, byte by byte.

kopf has no word for "this watch is alive", and a watcher can end (or be stuck in retries) while the process goes on. So
every response to a watch request is noted as it is opened. A stream that nobody reopens, or that is silent for longer
than the API server's own bookmarks (about one a minute) allow, is dead, whatever the reason. A silent one is cut, so
that kopf opens it anew; only when that does not help, or is not done, is it a problem.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import aiohttp

from longshore_operator.cluster.connection import Handler
from longshore_operator.measures import Tally

logger = logging.getLogger(__name__)

REOPEN_WITHIN_S = 30.0  # between a stream's end and the next one, and from the start to the first
CUT_AFTER_S = 100.0  # of silence: a bookmark missed
SILENT_AT_MOST_S = 180.0  # over several streams, when each is cut


@dataclass(kw_only=True, slots=True)
class _Stream:
    response: aiohttp.ClientResponse | None
    received: int  # bytes at the last look
    opened_at: float
    heard_at: float  # when a look last found more bytes, or the stream was opened after one that was not silent
    cut: bool = False  # by us, for its silence
    closed_at: float | None  # when a look first found it closed; None while open


class WatchStreams:
    """A middleware for the watcher's HTTP session, and the judge of what it saw."""

    def __init__(
        self,
        expected: Mapping[str, str],
        *,
        clock: Callable[[], float] | None = None,
        reopen_within_s: float | None = None,
        silent_at_most_s: float | None = None,
        cut_after_s: float | None = None,
    ) -> None:
        """``expected``: path of each collection that must be watched, and its name for people."""
        self._clock = clock or asyncio.get_running_loop().time
        self._expected = dict(expected)
        self._reopen_within_s = REOPEN_WITHIN_S if reopen_within_s is None else reopen_within_s
        self._silent_at_most_s = SILENT_AT_MOST_S if silent_at_most_s is None else silent_at_most_s
        self._cut_after_s = CUT_AFTER_S if cut_after_s is None else cut_after_s
        started = self._clock()
        self.opened = Tally()  # by name: watches that the API server granted
        self._streams = {
            path: _Stream(response=None, received=0, opened_at=started, heard_at=started, closed_at=started)
            for path in expected
        }

    async def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        """The middleware."""
        response = await handler(request)
        if request.url.query.get("watch") == "true" and response.status == 200 and request.url.path in self._streams:
            self.opened.add(self._expected[request.url.path])
            before, now = self._streams[request.url.path], self._clock()
            self._streams[request.url.path] = _Stream(
                response=response,
                received=0,
                opened_at=now,
                heard_at=before.heard_at if before.cut else now,
                closed_at=None,
            )
        return response

    def look(self) -> None:
        """Note what came in since the last look, and cut what has fallen silent. To be called every second or so."""
        now = self._clock()
        for path, stream in self._streams.items():
            if stream.response is None:
                continue
            if stream.response.content.total_bytes > stream.received:
                stream.received = stream.response.content.total_bytes
                stream.heard_at = now
            silent_s = now - max(stream.heard_at, stream.opened_at)
            if not stream.response.closed and silent_s > self._cut_after_s:
                logger.warning(
                    "a watch is silent and is opened anew",
                    extra={"action": "watch", "of": self._expected[path], "seconds": round(silent_s)},
                )
                stream.cut = True
                stream.response.close()
            if stream.response.closed and stream.closed_at is None:
                stream.closed_at = now

    @property
    def open(self) -> Collection[str]:
        """Names of the collections that are being watched."""
        return [
            self._expected[path]
            for path, stream in self._streams.items()
            if stream.response is not None and not stream.response.closed
        ]

    def silences(self) -> dict[str, float]:
        """Seconds since something was last heard of each collection, by name."""
        self.look()
        now = self._clock()
        return {self._expected[path]: now - stream.heard_at for path, stream in self._streams.items()}

    def problems(self) -> list[str]:
        """One line for each watch that is dead; empty when all is well."""
        self.look()
        now = self._clock()
        found = []
        for path, stream in self._streams.items():
            name = self._expected[path]
            if stream.closed_at is not None and now - stream.closed_at > self._reopen_within_s:
                found.append(f"nobody has watched {name} for {now - stream.closed_at:.0f} s")
            elif now - stream.heard_at > self._silent_at_most_s:
                found.append(f"the watch of {name} has been silent for {now - stream.heard_at:.0f} s")
        return found
