"""Which queue is asked first (asynq-protocol §4.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from random import Random

from longshore.errors import InvalidOption

_MOST = 2**31 - 1  # a server publishes priorities as int32


def strict_order(queues: Mapping[str, int]) -> tuple[str, ...]:
    """Queues by descending priority; equals in the order given."""
    return tuple(sorted(queues, key=lambda queue: -queues[queue]))


def weighted_order(queues: Mapping[str, int], *, among: Collection[str], random: Random) -> list[str]:
    """The queues of ``among`` in a random order: each is next with probability weight / weights left.

    The same distribution as Asynq's (repeat each name by its weight, shuffle, keep first occurrences), drawn directly.
    """
    left = [queue for queue in queues if queue in among]
    order = []
    while len(left) > 1:
        (chosen,) = random.choices(left, weights=[queues[queue] for queue in left])
        left.remove(chosen)
        order.append(chosen)
    return order + left


def checked_queues(queues: Mapping[str, int]) -> dict[str, int]:
    """The queues with their priorities, or InvalidOption naming the one that cannot be used.

    Asynq drops blank names and priorities below 1 silently; a queue nobody serves is better said at once.
    """
    if not isinstance(queues, Mapping):
        raise InvalidOption("queues", f"is {queues!r}; give names with their priorities, such as {{'default': 1}}")
    if not queues:
        raise InvalidOption("queues", "give at least one queue, e.g. default=1")
    for queue, priority in queues.items():
        if not isinstance(queue, str):
            raise InvalidOption("queues", f"the name {queue!r} is not text")
        if not queue.strip():
            raise InvalidOption("queues", "a queue name is blank")
        try:
            queue.encode()
        except UnicodeEncodeError as error:
            raise InvalidOption("queues", f"the name {queue!r} is not valid Unicode") from error
        if isinstance(priority, bool) or not isinstance(priority, int) or not 1 <= priority <= _MOST:
            raise InvalidOption(
                "queues", f"the priority of {queue!r} is {priority!r}; give a whole number from 1 to {_MOST}"
            )
    return dict(queues)
