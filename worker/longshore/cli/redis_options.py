"""The options that say where Redis is and how to connect, the same for every command, as one value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

from longshore.broker.base import RedisSettings
from longshore.broker.tls import RedisTls
from longshore.cli.settings import with_settings

F = TypeVar("F", bound=Callable[..., Any])

_SETTINGS = (
    "redis",
    "redis_username",
    "redis_password",
    "redis_sentinel_username",
    "redis_sentinel_password",
    "redis_tls_ca_file",
    "redis_tls_cert_file",
    "redis_tls_key_file",
    "redis_tls_server_name",
    "redis_tls_insecure_skip_verify",
    "redis_timeout",
)


def with_redis(command: F) -> F:
    """Give a command these options; it gets the settings they make as ``redis``."""

    @wraps(command)
    def connected(*arguments: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _SETTINGS}
        return command(*arguments, redis=_redis_settings(**given), **options)

    return with_settings(*_SETTINGS)(connected)  # type: ignore[return-value]  # as any decorator of click's


def _redis_settings(
    redis: str,
    redis_username: str | None,
    redis_password: str | None,
    redis_sentinel_username: str | None,
    redis_sentinel_password: str | None,
    redis_tls_ca_file: str | None,
    redis_tls_cert_file: str | None,
    redis_tls_key_file: str | None,
    redis_tls_server_name: str | None,
    redis_tls_insecure_skip_verify: bool,
    redis_timeout: timedelta,
) -> RedisSettings:
    tls = RedisTls(
        ca_file=redis_tls_ca_file,
        cert_file=redis_tls_cert_file,
        key_file=redis_tls_key_file,
        server_name=redis_tls_server_name,
        insecure_skip_verify=redis_tls_insecure_skip_verify,
    )
    return RedisSettings(
        url=redis,
        username=redis_username,
        password=redis_password,
        sentinel_username=redis_sentinel_username,
        sentinel_password=redis_sentinel_password,
        tls=None if tls == RedisTls() else tls,
        timeout=redis_timeout,
    )
