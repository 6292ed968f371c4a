"""The broker of those who may be given one, or a Redis to connect to."""

from __future__ import annotations

from typing import TypeVar

from longshore.broker.base import Broker, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import InvalidOption

B = TypeVar("B", bound=Broker)


def opened(redis: str | RedisSettings | None, broker: B | None) -> tuple[B | RedisBroker, bool]:
    """The broker to use, and whether it was made here, so that whoever asked closes it. Nothing is sent yet.

    ``redis``: a URL, or settings; the default is a local Redis. Raises InvalidOption when both are given, and when the
    URL cannot be read.
    """
    if broker is None:
        return RedisBroker.connect(RedisSettings.of(redis)), True
    if redis is not None:
        raise InvalidOption("broker", "give either a Redis or a broker, not both")
    return broker, False
