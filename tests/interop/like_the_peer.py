"""An application of ours with the outcomes of the Go peer's, and a process that serves it."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from longshore import App, Context, RetryDecision, RevokeTask, Server, SkipRetry


def app_like_the_peers() -> App:
    """The same outcomes as tests/interop/peer/server.go, by payload."""
    app = App()

    @app.task("outcome", retry=lambda _: RetryDecision.retry(after=timedelta(minutes=1)))
    async def run(ctx: Context) -> None:
        match ctx.payload:
            case b"fail":
                raise RuntimeError("told to fail")
            case b"panic":
                raise ValueError("told to panic")
            case b"skip":
                raise SkipRetry
            case b"revoke":
                raise RevokeTask
            case b"sleep":
                await asyncio.Event().wait()
            case b"nap":
                await asyncio.sleep(0.1)
        await ctx.write_result(ctx.payload)

    return app


if __name__ == "__main__":  # python like_the_peer.py REDIS_URL
    asyncio.run(Server(app_like_the_peers(), redis=sys.argv[1]).serve())
