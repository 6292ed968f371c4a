"""What a worker server and a scheduler have in common: they start once, run until told to stop, and answer probes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from longshore.errors import InvalidOption
from longshore.runtime.health import HealthServer, Page, Probe, checked_address
from longshore.runtime.outage import Outage
from longshore.runtime.pulse import Pulse


class Service(ABC):
    """``async with`` runs it beside other code and shuts it down at the end; ``serve()`` runs it until a signal.

    Cancelling the block ends it in order as well; cancelling it once more hastens the end, as a second signal does.
    """

    def __init__(self, name: str, *, health_address: tuple[str, int] | None, stuck: timedelta) -> None:
        """``name``: what people call it. ``stuck``: a duty busy with one step for longer is not alive.

        Raises InvalidOption for a health address that is none.
        """
        self._name = name
        self._health_address = None if health_address is None else checked_address(health_address)
        self._stuck = stuck
        self._logger = logging.getLogger(f"longshore.{name}")
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()  # its surroundings are entered
        self._beside: tuple[Service, ...] = ()
        self._main: asyncio.Task[None] | None = None
        self._leaving = False  # its own work is done; what is left is to leave the surroundings
        self._hurried = False  # … and nobody waits for that any more

    @property
    def health_port(self) -> int | None:
        """The port of the probes, once started."""
        return self._health.port if self._main is not None and self._health_address is not None else None

    @property
    def started(self) -> bool:
        """Whether it has begun; also after it has ended."""
        return self._main is not None

    def probes(self) -> tuple[Probe, Probe]:
        """Liveness and readiness, as the health address tells them. Once started."""
        return self._livez(), self._readyz()

    async def start(self) -> None:
        """Begin. Raises InvalidOption when the health address cannot be used, and what its surroundings raise."""
        if self._main is not None:
            raise InvalidOption(self._name, "runs once; make another one")
        self._pulse = Pulse(limit=self._stuck)
        self._outage = Outage()
        self._assemble()
        self._health = HealthServer({"/livez": self._livez, "/readyz": self._readyz}, self._pages())
        if self._health_address is not None:
            await self._health.start(*self._health_address)
        self._main = main = asyncio.create_task(self._live(), name=f"longshore-{self._name}")
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._ready, self._stop)]
        try:
            await asyncio.wait([main, *waiting], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if self._ready.is_set():  # it has begun, and whoever cancels the start does not get to end it
                await self.__aexit__(None, None, None)
            raise
        finally:
            for waiter in waiting:
                waiter.cancel()
            if not self._ready.is_set():  # told to stop, or given up, before it has begun
                main.cancel()
                await asyncio.wait([main])
                await self._health.close()  # main may not have had its first turn
        if not self._ready.is_set():
            await main

    def shutdown(self) -> None:
        """Begin to end, in order. Idempotent."""
        self._stop.set()
        for one in self._beside:
            one.shutdown()

    def _leave_at_once(self) -> None:
        """Do not wait for surroundings that take their time to be left. Without effect before that."""
        if self._leaving and self._main is not None and not self._main.done():
            self._hurried = True
            self._main.cancel()

    async def wait(self) -> None:
        """Wait for the end. Raises what broke it, if something did."""
        if self._main is not None:
            await asyncio.shield(self._main)

    async def serve(self, *, beside: Sequence[Service] = ()) -> None:
        """Run until SIGTERM or SIGINT, and shut down. A signal is heard from here on, also while it starts.

        ``beside``: others that start before it, shut down with it, and count for its probes.
        """
        self._beside = tuple(beside)
        loop = asyncio.get_running_loop()
        signals = self._signals()
        for number, act in signals.items():
            loop.add_signal_handler(number, self._on_signal, number, act)
        try:
            async with contextlib.AsyncExitStack() as others:
                for one in self._beside:
                    await others.enter_async_context(one)
                async with self:
                    await self.wait()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            await self.wait()
        except asyncio.CancelledError:
            await self._hasten()
            raise

    async def _hasten(self) -> None:
        """Cancelled while it ends in order: end at once, as after a second signal. Nothing of it may go on alone."""
        main = self._main
        if main is not None and not main.done():
            self.shutdown()
            try:
                await asyncio.wait([main])
            except asyncio.CancelledError:
                main.cancel()
                raise

    @abstractmethod
    def _assemble(self) -> None:
        """Make the parts. The event loop runs; nothing is begun yet."""

    def _surroundings(self) -> AbstractAsyncContextManager[Any]:
        """What is entered before ``_run`` and left after it, in the same asyncio task."""
        return contextlib.nullcontext()

    @abstractmethod
    async def _run(self) -> None:
        """From start to end."""

    def _pages(self) -> Mapping[str, Callable[[], Awaitable[Page]]]:
        """What the health address answers beside the probes, by path."""
        return {}

    @abstractmethod
    def _state(self) -> str:
        """A word or two for what it does now, for people who ask the readiness probe."""

    async def _live(self) -> None:
        try:
            async with self._surroundings():
                self._ready.set()
                await self._run()
                self._leaving = True
        except asyncio.CancelledError:
            if self._hurried:
                self._logger.warning(
                    "The application's lifespan was cut off while it was left", extra={"action": "lifespan_cut_off"}
                )
            elif self._ready.is_set() or not self._stop.is_set():
                raise
        except Exception:
            if self._ready.is_set():  # within another program, nobody may be waiting for it to end
                self._logger.exception("Something failed, and it ends", extra={"action": "broke"})
            raise
        finally:
            await self._health.close()

    def _signals(self) -> Mapping[signal.Signals, Callable[[], None]]:
        """What each signal does while ``serve`` runs."""
        return {signal.SIGTERM: self.shutdown, signal.SIGINT: self.shutdown}

    def _on_signal(self, number: signal.Signals, act: Callable[[], None]) -> None:
        self._logger.info(
            "Signal received again" if self._stop.is_set() else "Signal received",
            extra={"action": "signal", "signal": number.name},
        )
        act()

    def _livez(self) -> Probe:
        if self._main is None or self._main.done():
            return Probe(ok=False, text=f"the {self._name} has ended")
        stuck = self._pulse.stuck()
        if stuck:
            return Probe(ok=False, text="stuck: " + ", ".join(stuck))
        return next((probe for one in self._beside if not (probe := one._livez()).ok), Probe(ok=True, text="ok"))

    def _readyz(self) -> Probe:
        if not self._outage.ever_reached:
            return Probe(ok=False, text="Redis was not reached yet")
        return Probe(ok=True, text=self._state())
