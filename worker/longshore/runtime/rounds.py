"""One round of a duty over the queues of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from longshore.errors import BrokerUnavailable, LongshoreError


async def visit_each(queues: Collection[str], visit: Callable[[str], Awaitable[None]]) -> None:
    """Visit every queue, also those after one whose keys cannot be used; then raise the first such error.

    Raises BrokerUnavailable at once: without Redis the others would fail as well.
    """
    refused: LongshoreError | None = None
    for queue in queues:
        try:
            await visit(queue)
        except BrokerUnavailable:
            raise
        except LongshoreError as error:
            refused = refused or error
    if refused is not None:
        raise refused
