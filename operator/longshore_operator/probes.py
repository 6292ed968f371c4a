"""The probes' server: ``/livez`` fails when anything that must run has died or is stuck, ``/readyz`` until it works."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from longshore_operator.errors import SettingsError

logger = logging.getLogger(__name__)

Check = Callable[[], Sequence[str]]  # one line for each problem; empty when all is well


class Probes:
    """Checks by name. Each is asked at each request, so it must be quick and must not wait."""

    def __init__(self) -> None:
        self.live: dict[str, Check] = {}  # failing: restart the process
        self.ready: dict[str, Check] = {}  # failing: not yet

    async def serve(self, host: str, port: int) -> web.AppRunner:
        """Listen until ``cleanup()`` of the result. Raises SettingsError when the address cannot be used."""
        application = web.Application()
        application.router.add_get("/livez", self._answer(self.live))
        application.router.add_get("/readyz", self._answer(self.ready))
        return await listen(application, host, port, flag="--health-address")

    @staticmethod
    def _answer(checks: dict[str, Check]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        failing = False

        async def answer(request: web.Request) -> web.StreamResponse:
            nonlocal failing
            problems = [f"{name}: {problem}" for name, check in checks.items() for problem in check()]
            if problems and not failing:
                logger.warning("a probe fails", extra={"action": "probe", "path": request.path, "problems": problems})
            failing = bool(problems)
            return web.Response(status=503 if problems else 200, text="\n".join(problems or ["ok"]) + "\n")

        return answer


async def listen(application: web.Application, host: str, port: int, *, flag: str) -> web.AppRunner:
    """Serve until ``cleanup()`` of the result. Raises SettingsError, with the flag's name, for a useless address."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
    except OSError as error:
        await runner.cleanup()
        raise SettingsError(f"{flag} {host}:{port}: {error.strerror or error}") from error
    return runner
