"""A Redis URL, and what is given beside it, as the connections want it.

No error repeats the URL: it may hold a password, and a password that is not percent-encoded lies anywhere in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from redis import exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from longshore.broker.base import RedisSettings
from longshore.broker.tls import RedisTls, TlsConnection, tls_context
from longshore.errors import InvalidOption

_FIELD = "redis URL"
_ENCODE = "in a user name or password write %40 for @, %2F for /, %3F for ?, %23 for # and %25 for %"

# What a URL's query may say. The rest of redis-py's options are ours to set, or mean something to its pool only.
_OPTIONS = ("db", "username", "password", "client_name")
_SENTINEL_OPTIONS = ("master", "sentinel_username", "sentinel_password")
_TLS_PREFIX = "ssl_"

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379


class Topology(Enum):
    """What the addresses of a URL are."""

    ONE = "one server"
    SENTINEL = "the sentinels that watch a master"
    CLUSTER = "some nodes of a cluster"


# Scheme → what it means, and the scheme of a connection to one of its servers.
_SCHEMES: Mapping[str, tuple[Topology, str]] = {
    "redis": (Topology.ONE, "redis"),
    "rediss": (Topology.ONE, "rediss"),
    "unix": (Topology.ONE, "unix"),
    "redis-sentinel": (Topology.SENTINEL, "redis"),
    "rediss-sentinel": (Topology.SENTINEL, "rediss"),
    "redis-cluster": (Topology.CLUSTER, "redis"),
    "rediss-cluster": (Topology.CLUSTER, "rediss"),
}
_EXAMPLES = {
    Topology.ONE: "redis://[user:password@]host[:port][/database]",
    Topology.SENTINEL: "redis-sentinel://[user:password@]host[:port],…[/database]?master=name",
    Topology.CLUSTER: "redis-cluster://[user:password@]host[:port],…",
}

Endpoint = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, kw_only=True)
class RedisTarget:
    """Where a URL leads, and how to connect there."""

    topology: Topology
    endpoints: tuple[Endpoint, ...]  # the servers it names; none for a Unix socket
    address: str  # for messages: no user, no password
    options: Mapping[str, Any] = field(repr=False)  # redis-py's, for a connection to a server that keeps data
    master: str | None = None  # the name under which sentinels watch
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # redis-py's, for a sentinel

    def factory(self, endpoint: Endpoint | None = None) -> ConnectionPool:
        """What makes connections to a server that keeps data; ``endpoint`` is None where the URL names just one."""
        return _factory(self.options, endpoint)

    def sentinel_factory(self, endpoint: Endpoint) -> ConnectionPool:
        """What makes connections to a sentinel."""
        return _factory(self.sentinel_options, endpoint)


def redis_target(settings: RedisSettings) -> RedisTarget:
    """Where those settings lead. Raises InvalidOption when the URL cannot be read or used."""
    scheme = settings.url.partition("://")[0]
    if "://" not in settings.url or scheme not in _SCHEMES:
        *others, last = (f"{known}://" for known in _SCHEMES)
        raise InvalidOption(_FIELD, f"must begin with one of these schemes: {', '.join(others)} or {last}")
    topology, server_scheme = _SCHEMES[scheme]
    whole = _split(settings.url, topology)
    watch = _watch(whole, settings) if topology is Topology.SENTINEL else {}
    query = _query_of_a_server(whole, topology)
    if topology is Topology.CLUSTER and (whole.path.strip("/") or "0") + (query.get("db") or "0") != "00":
        raise InvalidOption(_FIELD, "a cluster has no databases; leave the number out")

    endpoints: list[Endpoint] = []
    options: dict[str, Any] = {}
    login, at, hosts = whole.netloc.rpartition("@")
    for host in hosts.split(",") if topology is not Topology.ONE else [hosts]:
        if not host and topology is not Topology.ONE:
            raise InvalidOption(_FIELD, f"lacks a host; write {_EXAMPLES[topology]}")
        one = whole._replace(scheme=server_scheme, netloc=f"{login}{at}{host}", query=urlencode(query))
        options = _server_options(one, topology)
        default_port = _SENTINEL_PORT if topology is Topology.SENTINEL else _REDIS_PORT
        if "path" not in options:
            endpoints.append((options.pop("host", "localhost"), options.pop("port", default_port)))
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password
    if settings.tls is not None:
        options = _with_tls(options, settings.tls, secure=server_scheme == "rediss")
    target = RedisTarget(
        topology=topology,
        endpoints=tuple(endpoints),
        address=options.get("path") or ",".join(f"{host}:{port}" for host, port in endpoints),
        options=options,
        master=watch.get("master"),
        sentinel_options=_sentinel_options(options, watch),
    )
    try:
        target.factory().make_connection()  # type: ignore[no-untyped-call]  # redis-py's own
    except (TypeError, ValueError, exceptions.RedisError):
        given = ", ".join(name for name in query if name.startswith(_TLS_PREFIX))
        raise InvalidOption(_FIELD, f"its TLS options ({given}) cannot be used; is the scheme rediss…://?") from None
    return target


def _with_tls(options: Mapping[str, Any], tls: RedisTls, *, secure: bool) -> dict[str, Any]:
    if not secure:
        raise InvalidOption(_FIELD, "must begin with rediss://, rediss-sentinel:// or rediss-cluster:// for TLS")
    twice = [name for name in options if name.startswith(_TLS_PREFIX)]
    if twice:
        raise InvalidOption(_FIELD, f"has TLS options ({', '.join(twice)}), and others are given beside it")
    return {
        **options,
        "connection_class": TlsConnection,
        "tls_context": tls_context(tls),
        "tls_server_name": tls.server_name,
    }


def address_of(endpoint: Endpoint) -> str:
    """An endpoint as messages name it."""
    return f"{endpoint[0]}:{endpoint[1]}"


def _factory(options: Mapping[str, Any], endpoint: Endpoint | None) -> ConnectionPool:
    # Only a factory: redis-py's pool knows the class and the options of a connection to any kind of URL.
    # Time limits are ours: one for the whole exchange instead of one for each write and read.
    all_options = dict(options)
    if "path" not in options:
        all_options["socket_keepalive"] = True
    if endpoint is not None:
        all_options["host"], all_options["port"] = endpoint
    return ConnectionPool(
        **all_options,
        protocol=2,
        decode_responses=False,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,  # redis-py's default of 5 s would end waits that are meant to be longer
        socket_connect_timeout=None,
    )


def _split(url: str, topology: Topology) -> SplitResult:
    try:
        parts = urlsplit(url)
        if topology is Topology.ONE:
            _ = parts.port
    except ValueError:
        raise InvalidOption(_FIELD, f"cannot be read; write {_EXAMPLES[topology]}, and {_ENCODE}") from None
    if any("@" in rest for rest in (parts.path, parts.query, parts.fragment)):
        raise InvalidOption(_FIELD, f"has a / ? or # before its @; {_ENCODE}")
    return parts


def _server_options(parts: SplitResult, topology: Topology) -> dict[str, Any]:
    """redis-py's options for a URL of one server."""
    database = parts.path.strip("/")
    # redis-py would take database 0 for anything that is no number
    if parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
        raise InvalidOption(_FIELD, "the part after the host must be a database's number, such as /0")
    url = parts.geturl()
    _split_host(url, topology)
    try:
        return dict(parse_url(url))
    except ValueError as error:  # of one of the query's values; it names the option
        raise InvalidOption(_FIELD, str(error)) from None


def _split_host(url: str, topology: Topology) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise InvalidOption(_FIELD, f"cannot be read; write {_EXAMPLES[topology]}, and {_ENCODE}") from None


def _query_of_a_server(parts: SplitResult, topology: Topology) -> dict[str, str]:
    """The query, without what is meant for the sentinels."""
    known = (*_OPTIONS, *_SENTINEL_OPTIONS) if topology is Topology.SENTINEL else _OPTIONS
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    for name in query:
        if name not in known and not name.startswith(_TLS_PREFIX):
            raise InvalidOption(
                _FIELD, f"{name!r} is no option of its query; there are {', '.join(known)} and {_TLS_PREFIX}…"
            )
    return {name: value for name, value in query.items() if name not in _SENTINEL_OPTIONS}


def _watch(parts: SplitResult, settings: RedisSettings) -> dict[str, str]:
    query = parse_qs(parts.query)
    watch = {name: query[name][0] for name in _SENTINEL_OPTIONS if name in query}
    if not watch.get("master"):
        raise InvalidOption(_FIELD, "lacks the name under which the sentinels watch the master; append ?master=name")
    if settings.sentinel_username is not None:
        watch["sentinel_username"] = settings.sentinel_username
    if settings.sentinel_password is not None:
        watch["sentinel_password"] = settings.sentinel_password
    return watch


def _sentinel_options(options: Mapping[str, Any], watch: Mapping[str, str]) -> dict[str, Any]:
    # The same TLS settings, other users: a sentinel has its own, and databases it has none.
    own = {name: value for name, value in options.items() if name not in ("db", "username", "password")}
    for name in ("username", "password"):
        if f"sentinel_{name}" in watch:
            own[name] = watch[f"sentinel_{name}"]  # percent-decoded already
    return own
