"""One round of a duty over the queues of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from longshore.errors import BrokerUnavailable, InvalidData, LongshoreError

Look = TypeVar("Look")


async def visit_each(looks: Mapping[str, Look | InvalidData], visit: Callable[[str, Look], Awaitable[None]]) -> None:
    """Visit every queue with what a look at it has found, also those after one whose keys cannot be used.

    Then raise the first such error. Raises BrokerUnavailable at once: without Redis the others would fail as well.
    """
    refused: LongshoreError | None = None
    for queue, look in looks.items():
        try:
            if isinstance(look, InvalidData):
                raise look
            await visit(queue, look)
        except BrokerUnavailable:
            raise
        except LongshoreError as error:
            refused = refused or error
    if refused is not None:
        raise refused
