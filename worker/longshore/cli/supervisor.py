"""Several worker processes under one: it starts them, passes signals on, and starts again whatever ends by itself.

Each process is a server of its own, made by exec: nothing is shared but the command line. The supervisor imports no
application and speaks to no Redis, so there is little that can break it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

from longshore.cli.supervised import LONGEST_LINE, PERIOD_S, SUPERVISOR, Report
from longshore.metrics.reading import OfProcess, WorkerReading
from longshore.policy.restarts import decide_restart
from longshore.runtime.health import Page, Probe
from longshore.runtime.metrics_page import METRICS, metrics_page
from longshore.runtime.service import Service

_logger = logging.getLogger("longshore.supervisor")

_SILENT_S = 10 * PERIOD_S  # who reports for so long no more does not go round
_READ_WITHIN_S = 2.0  # a process that does not answer is left out of /metrics, and the others are told of
_ENDED_WELL = (0, -signal.SIGTERM)  # the latter when the signal came before Python could hear it


class Member:
    """One of the processes."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self.report: Report | None = None  # the newest of the process that runs now
        self.was_ready = False  # ever, also before a restart
        self.failures = 0
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._reported_at = 0.0
        self._started_at = 0.0
        self.on_report: Callable[[], None] = lambda: None
        self._writer: asyncio.StreamWriter | None = None
        self._asked = 0
        self._answers: dict[int, asyncio.Future[WorkerReading | None]] = {}

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def lived(self) -> timedelta:
        return timedelta(seconds=monotonic() - self._started_at)

    @property
    def silent(self) -> bool:
        """Whether it has reported, and does so no more."""
        return self.running and self.report is not None and monotonic() - self._reported_at > _SILENT_S

    async def start(self) -> None:
        """Raises OSError when there can be no process."""
        self.report, self._started_at = None, monotonic()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env={**os.environ, SUPERVISOR: str(theirs.fileno())},
                    pass_fds=[theirs.fileno()],
                    process_group=0,  # a terminal's signals come to the supervisor alone, which passes them on once
                )
            except BaseException:
                ours.close()
                raise
        self._listening = asyncio.create_task(self._listen(ours))

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        code = await self._process.wait()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        return code

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def read(self) -> WorkerReading | None:
        """What it has counted; None when it does not say so in time, or has nothing to say."""
        if self._writer is None or self.report is None:
            return None
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[WorkerReading | None] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._writer.write(json.dumps({"read": number}).encode() + b"\n")
            async with asyncio.timeout(_READ_WITHIN_S):
                return await answer
        except (OSError, TimeoutError):
            return None
        finally:
            del self._answers[number]

    async def _listen(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=LONGEST_LINE)
        self._writer = writer
        try:
            while line := await reader.readline():
                self._heed(json.loads(line))
        except OSError:
            pass  # it has ended
        finally:
            self._writer = None
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(None)
            writer.close()

    def _heed(self, said: dict[str, Any]) -> None:
        if "read" in said:
            answer = self._answers.get(said["read"])
            if answer is not None and not answer.done():
                answer.set_result(None if said["reading"] is None else WorkerReading.of(said["reading"]))
            return
        first = self.report is None
        self.report, self._reported_at = Report.of_fields(said), monotonic()
        self.was_ready = self.was_ready or self.report.ready
        if first:
            self.on_report()


class Supervisor(Service):
    """Runs until it is told to stop and all its processes have ended.

    The first process starts alone. When it cannot start, neither could the others, and what is wrong is said once.
    """

    def __init__(self, command: Sequence[str], *, processes: int, health_address: tuple[str, int] | None) -> None:
        super().__init__("supervisor", health_address=health_address, stuck=timedelta(seconds=60))
        self._members = [Member(number, command) for number in range(1, processes + 1)]
        self._paused = False
        self.exit_code = 0

    def shutdown(self) -> None:
        """Let every process shut down; the second call makes each put its tasks back at once."""
        super().shutdown()
        for member in self._members:
            member.send(signal.SIGTERM)

    def _signals(self) -> Mapping[signal.Signals, Callable[[], None]]:
        return {**super()._signals(), signal.SIGTSTP: self._pause, signal.SIGCONT: self._resume}

    def _pause(self) -> None:
        self._paused = True
        self._pass_on(signal.SIGTSTP)

    def _resume(self) -> None:
        self._paused = False
        self._pass_on(signal.SIGCONT)

    def _pass_on(self, number: signal.Signals) -> None:
        for member in self._members:
            if member.report is not None:  # before, the signal would not be heard but stop the process itself
                member.send(number)

    # -- from start to end -------------------------------------------------------------------------------------------

    def _assemble(self) -> None:
        self._reported = asyncio.Event()
        for member in self._members:
            member.on_report = lambda member=member: self._on_first_report(member)  # type: ignore[misc]

    def _on_first_report(self, member: Member) -> None:
        self._reported.set()
        if self._paused:
            member.send(signal.SIGTSTP)

    async def _run(self) -> None:
        _logger.info(
            "Supervisor started", extra={"action": "supervisor_started", "processes": len(self._members)}
        )  # fmt: skip
        reaping = asyncio.create_task(_reap_orphans(self._members)) if os.getpid() == 1 else None
        try:
            first, *others = self._members
            if await self._begin(first):
                async with asyncio.TaskGroup() as group:
                    for member in (first, *others):
                        group.create_task(self._keep(member))
        finally:
            if reaping is not None:
                reaping.cancel()
            _logger.info("Supervisor stopped", extra={"action": "supervisor_stopped"})

    async def _begin(self, first: Member) -> bool:
        """Start the first one; whether it has come so far that the others may follow."""
        await self._start(first)
        ended = asyncio.create_task(first.wait())
        reported = asyncio.create_task(self._reported.wait())
        await asyncio.wait([ended, reported], return_when=asyncio.FIRST_COMPLETED)
        reported.cancel()
        if not ended.done():
            ended.cancel()
            return True
        self._note(ended.result())
        if not self._stop.is_set():
            # It has said itself what is wrong.
            self.exit_code = max(ended.result(), 1)
        return False

    async def _start(self, member: Member) -> None:
        await member.start()
        if self._stop.is_set():
            member.send(signal.SIGTERM)  # it came too late for the signal
        _logger.info(
            "Worker process started",
            extra={"action": "process_started", "member": member.number, "child_pid": member.pid},
        )

    async def _keep(self, member: Member) -> None:
        """Let one process run, again and again, until the end."""
        while True:
            try:
                if not member.running:
                    if self._stop.is_set():
                        return
                    await self._start(member)
                code: int | None = await member.wait()
            except OSError as error:
                code = None
                _logger.error(
                    "A worker process cannot be started",
                    extra={"action": "process_failed", "member": member.number, "error": error.strerror},
                )
            if self._stop.is_set():
                self._note(code)
                return
            restart = decide_restart(failures=member.failures, lived=member.lived)
            member.failures, member.report = restart.failures, None
            _logger.error(
                "A worker process has ended by itself; it is started again",
                extra={
                    "action": "process_restarted",
                    "member": member.number,
                    "child_pid": member.pid,
                    "ended_with": _ending(code),
                    "delay_s": restart.delay.total_seconds(),
                },
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(restart.delay.total_seconds()):
                    await self._stop.wait()

    def _note(self, code: int | None) -> None:
        if code not in _ENDED_WELL:
            self.exit_code = 1

    # -- metrics -----------------------------------------------------------------------------------------------------

    def _pages(self) -> Mapping[str, Callable[[], Awaitable[Page]]]:
        return {METRICS: metrics_page(self._processes)}

    async def _processes(self) -> Sequence[OfProcess]:
        running = [(member, member.pid) for member in self._members if member.running]
        readings = await asyncio.gather(*(member.read() for member, _ in running))
        return [
            OfProcess(name="supervisor", pid=os.getpid(), reading=None),
            *(
                OfProcess(name=str(member.number), pid=pid, reading=reading)
                for (member, pid), reading in zip(running, readings, strict=True)
                if pid is not None
            ),
        ]

    # -- probes ------------------------------------------------------------------------------------------------------

    def _livez(self) -> Probe:
        alive = super()._livez()
        if not alive.ok:
            return alive
        problems = [
            f"process {member.number}: {'does not report any more' if member.silent else member.report.text}"
            for member in self._members
            if member.report is not None and (member.silent or not member.report.live)
        ]
        return Probe(ok=not problems, text="; ".join(problems) or "ok")

    def _readyz(self) -> Probe:
        waiting = [str(member.number) for member in self._members if not member.was_ready]
        if waiting:
            return Probe(ok=False, text=f"Redis was not reached yet by process {', '.join(waiting)}")
        return Probe(ok=True, text=self._state())

    def _state(self) -> str:
        ready = sum(1 for member in self._members if member.report is not None and member.report.ready)
        word = "draining" if self._stop.is_set() else "paused" if self._paused else "ok"
        return f"{word}, {ready} of {len(self._members)} processes"


def _ending(code: int | None) -> str:
    if code is None:
        return "no process"
    if code >= 0:
        return f"code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


async def _reap_orphans(members: Sequence[Member]) -> None:
    """As the first process of a container: take leave of what others have left, such as a killed worker's children."""
    while True:
        await asyncio.sleep(1)
        while (orphan := _ended_orphan(members)) is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, os.WNOHANG)  # noqa: ASYNC222  # it has ended


def _ended_orphan(members: Sequence[Member]) -> int | None:
    with contextlib.suppress(ChildProcessError):  # no children at all
        # Only a look: the members are waited for elsewhere.
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_pid not in {member.pid for member in members}:
            return ended.si_pid
    return None


def worker_command() -> list[str]:
    """This program again, with the same arguments."""
    options = [f"-W{option}" for option in sys.warnoptions]
    return [sys.executable, *options, "-m", "longshore", *sys.argv[1:]]
