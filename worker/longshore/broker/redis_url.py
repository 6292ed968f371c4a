"""A Redis URL, and what is given beside it, as redis-py's connections want it.

No error repeats the URL: it may hold a password, and a password that is not percent-encoded lies anywhere in it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from redis import exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from longshore.broker.base import RedisSettings
from longshore.errors import InvalidOption

_FIELD = "redis URL"
_ENCODE = "in a user name or password write %40 for @, %2F for /, %3F for ?, %23 for # and %25 for %"

# What a URL's query may say. The rest of redis-py's options are ours to set, or mean something to its pool only.
_OPTIONS = ("db", "username", "password", "client_name")
_TLS_PREFIX = "ssl_"


def connection_factory(settings: RedisSettings) -> tuple[ConnectionPool, str]:
    """What makes connections for those settings, and the address they go to, for messages.

    Raises InvalidOption when the URL cannot be read or used.
    """
    parts = _split(settings.url)
    _check_database(parts)
    _check_query(parts)
    try:
        options: dict[str, Any] = dict(parse_url(settings.url))
    except ValueError as error:  # of the scheme, or of one of the query's values; it names the option
        raise InvalidOption(_FIELD, str(error)) from None
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password
    path = options.get("path")
    if path is None:
        options["socket_keepalive"] = True
    # Only a factory: redis-py's pool knows the class and the options of a connection to any kind of URL.
    # Time limits are ours: one for the whole exchange instead of one for each write and read.
    factory = ConnectionPool(
        **options,
        protocol=2,
        decode_responses=False,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,  # redis-py's default of 5 s would end waits that are meant to be longer
        socket_connect_timeout=None,
    )
    try:
        factory.make_connection()  # type: ignore[no-untyped-call]  # redis-py's own
    except (TypeError, ValueError, exceptions.RedisError):
        given = ", ".join(name for name in parse_qs(parts.query) if name.startswith(_TLS_PREFIX))
        raise InvalidOption(_FIELD, f"its TLS options ({given}) cannot be used; is the scheme rediss://?") from None
    return factory, path or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidOption(
            _FIELD, f"cannot be read; write redis://[user:password@]host[:port][/database], and {_ENCODE}"
        ) from None
    if any("@" in rest for rest in (parts.path, parts.query, parts.fragment)):
        raise InvalidOption(_FIELD, f"has a / ? or # before its @; {_ENCODE}")
    return parts


def _check_database(parts: SplitResult) -> None:
    database = parts.path.strip("/")
    # redis-py would take database 0 for anything that is no number
    if parts.scheme in ("redis", "rediss") and database and not (database.isascii() and database.isdigit()):
        raise InvalidOption(_FIELD, "the part after the host must be a database's number, such as /0")


def _check_query(parts: SplitResult) -> None:
    for name in parse_qs(parts.query, keep_blank_values=True):
        if name not in _OPTIONS and not name.startswith(_TLS_PREFIX):
            raise InvalidOption(
                _FIELD, f"{name!r} is no option of its query; there are {', '.join(_OPTIONS)} and {_TLS_PREFIX}…"
            )
