"""A worker server inside a web service: in its process, on its event loop, for as long as it runs.

    api = FastAPI(lifespan=longshore.lifespan(app, redis="redis://…"))

    @api.post("/emails", status_code=202)
    async def send(email: Email, request: Request) -> dict[str, str]:
        info = await request.state.longshore.enqueue("email:send", email)
        return {"id": info.id}

Needs no web framework: whatever runs ASGI lifespans with a function of its application will do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from longshore.app import App
from longshore.broker.base import Broker, RedisSettings
from longshore.errors import InvalidOption
from longshore.server import Server

State = Mapping[str, Any]


def lifespan(
    app: App,
    *,
    redis: str | RedisSettings | None = None,
    broker: Broker | None = None,
    inner: Callable[[Any], AbstractAsyncContextManager[State | None]] | None = None,
    name: str = "longshore",
    **server_options: Any,
) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """The ``lifespan`` of a Starlette or FastAPI application that runs the tasks of ``app`` beside its requests.

    Requests find a client of ``app`` as ``request.state.longshore``, or by another ``name``, and the server as
    ``request.state.longshore_server``. ``inner``: a lifespan of the web application's own; it is entered before the
    server starts and left after the last task has ended, and what it yields is in the state, too. ``redis`` or
    ``broker`` are for both, the other options for the Server. Signals are left to the web server: when it ends the
    lifespan, the worker server drains.

    Raises InvalidOption for a name that is not one; what the Server raises comes up when the service starts.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise InvalidOption("name", f"is {name!r}; it becomes an attribute of request.state")

    @asynccontextmanager
    async def serving(web: Any) -> AsyncIterator[State]:
        around: AbstractAsyncContextManager[State | None] = nullcontext() if inner is None else inner(web)
        async with (
            around as inner_state,
            app.client(redis, broker=broker) as client,
            Server(app, redis=redis, broker=broker, **server_options) as server,
        ):
            yield {**(inner_state or {}), name: client, f"{name}_server": server}

    return serving
