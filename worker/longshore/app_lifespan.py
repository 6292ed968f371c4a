"""What handlers share for as long as a server runs: database pools, HTTP clients, models in memory.

@app.lifespan
async def services() -> AsyncIterator[Services]:
    async with httpx.AsyncClient() as http:
        yield Services(http=http)

@app.task("page:fetch")
async def fetch(ctx: Context[Services], url: str) -> None:
    await ctx.state.http.get(url)
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from longshore.errors import InvalidOption

Lifespan = Callable[[], "AsyncIterator[Any] | AsyncGenerator[Any, None] | AbstractAsyncContextManager[Any]"]
"""An async generator function that yields once, or a function that returns an async context manager. No arguments.

Entered and left in the same asyncio task.
"""


def checked_lifespan(lifespan: Any) -> Lifespan:
    """The lifespan, when it is one. Raises InvalidOption."""
    if not callable(lifespan):
        raise InvalidOption("lifespan", f"{lifespan!r} is not a function")
    if inspect.iscoroutinefunction(lifespan):
        raise InvalidOption("lifespan", f"{lifespan!r} does not yield; yield what handlers share, or nothing")
    return lifespan  # type: ignore[no-any-return]


def entering(lifespan: Lifespan) -> AbstractAsyncContextManager[Any]:
    """The context manager to enter. Raises what the function raises, InvalidOption for what it should not return."""
    if inspect.isasyncgenfunction(lifespan):
        return asynccontextmanager(lifespan)()
    manager = lifespan()
    if not isinstance(manager, AbstractAsyncContextManager):
        raise InvalidOption("lifespan", f"{lifespan!r} returned {manager!r}, not an async context manager")
    return manager
