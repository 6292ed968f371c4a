"""What people write for durations, times, addresses, queues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from longshore.cli.settings import SETTINGS
from longshore.cli.values import Address, Duration, Header, Moment, ProcessCount, QueuePriorities, TimeLimit


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Duration(), "90", timedelta(seconds=90)),
        (TimeLimit(), "90", timedelta(seconds=90)),
        (TimeLimit(), "none", timedelta.max),
        (Duration(), "0", timedelta(0)),
        (Duration(), "1.5", timedelta(seconds=1.5)),
        (Duration(), "1m30s", timedelta(seconds=90)),
        (Duration(), "500ms", timedelta(milliseconds=500)),
        (Duration(), "2d", timedelta(days=2)),
        (Moment(), "2026-01-31T18:00:00Z", datetime(2026, 1, 31, 18, tzinfo=UTC)),
        (Address(), ":8081", ("", 8081)),
        (Address(), "127.0.0.1:0", ("127.0.0.1", 0)),
        (Address(), "[::1]:80", ("::1", 80)),
        (ProcessCount(), "4", 4),
        (Header(), "a=b=c", ("a", "b=c")),
        (QueuePriorities(), "critical=6,default=3", {"critical": 6, "default": 3}),
        (QueuePriorities(), "a", {"a": 1}),
        (QueuePriorities(), "a=b=2", {"a=b": 2}),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_text_becomes_a_value(kind: click.ParamType[Any], text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((Duration(), text) for text in ("", "s", "-1", "1 m", "1x", "1e3", "9" * 400)),
        *((Moment(), text) for text in ("", "now", "2026-01-31", "2026-01-31T18:00:00")),
        *((Address(), text) for text in ("", "8081", "host:", "host:x", "host:65536", "host:-1")),
        *((Header(), text) for text in ("", "a", "=b")),
        *((QueuePriorities(), text) for text in ("", ",", "a=", "a=-1", "a=1.5", "a=1,a=1")),
    ],
)
def test_other_text_is_refused(kind: click.ParamType[Any], text: str) -> None:
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


def test_every_setting_of_the_pools_environment_is_in_the_table() -> None:
    variables = {setting.env for setting in SETTINGS.values()}
    assert {
        "LONGSHORE_REDIS_URL",
        "LONGSHORE_REDIS_USERNAME",
        "LONGSHORE_REDIS_PASSWORD",
        "LONGSHORE_REDIS_SENTINEL_USERNAME",
        "LONGSHORE_REDIS_SENTINEL_PASSWORD",
        "LONGSHORE_REDIS_TLS_CA_FILE",
        "LONGSHORE_REDIS_TLS_CERT_FILE",
        "LONGSHORE_REDIS_TLS_KEY_FILE",
        "LONGSHORE_REDIS_TLS_SERVER_NAME",
        "LONGSHORE_REDIS_TLS_INSECURE_SKIP_VERIFY",
        "LONGSHORE_REDIS_TIMEOUT",
        "LONGSHORE_QUEUES",
        "LONGSHORE_STRICT_PRIORITY",
        "LONGSHORE_CONCURRENCY",
        "LONGSHORE_SHUTDOWN_TIMEOUT",
        "LONGSHORE_HEALTH_ADDRESS",
    } <= variables
