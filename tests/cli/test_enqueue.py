"""`longshore enqueue`: what is stored, read from where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from cli.command import longshore
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage


def stored(client: redis.Redis, task_id: str, queue: str = "default") -> TaskMessage:
    return codec.decode_task(client.hget(keys.task(queue, task_id), "msg"))


def test_every_option_reaches_the_task(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    done = longshore(
        *("enqueue", "email:welcome", "--payload", '{"user": 7}', "--queue", "critical", "--max-retry", "3"),
        *("--timeout", "90s", "--deadline", "2030-01-01T00:00:00Z", "--in", "1h", "--unique-for", "2h"),
        *("--task-id", "t1", "--retention", "1d", "--header", "a=b=c", "--header", "d="),
        cwd=tmp_path,
        LONGSHORE_REDIS_URL=redis_url,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "t1\n", "")
    assert stored(redis_client, "t1", "critical") == TaskMessage(
        type="email:welcome",
        payload=b'{"user": 7}',
        id="t1",
        queue="critical",
        max_retry=3,
        timeout=timedelta(seconds=90),
        deadline=datetime(2030, 1, 1, tzinfo=UTC),
        unique_key=keys.unique("critical", "email:welcome", b'{"user": 7}'),
        retention=timedelta(days=1),
        headers={"a": "b=c", "d": ""},
    )
    assert redis_client.zscore(keys.scheduled("critical"), "t1")


@pytest.mark.parametrize(
    ("arguments", "stdin", "payload"),
    [
        ((), b"", None),
        (("--payload", "[1]"), b"", b"[1]"),
        (("--payload", "-"), b'{"from": "stdin"}', b'{"from": "stdin"}'),
        (("--payload", "@data.json"), b"", b'"file"'),
        (("--payload", "-", "--raw"), b"\x00\xff", b"\x00\xff"),
        (("--payload", "plain", "--raw"), b"", b"plain"),
    ],
    ids=["none", "text", "standard input", "a file", "raw bytes", "raw text"],
)
def test_the_payload_may_come_from(
    tmp_path: Path,
    redis_url: str,
    redis_client: redis.Redis,
    arguments: tuple[str, ...],
    stdin: bytes,
    payload: bytes | None,
) -> None:
    (tmp_path / "data.json").write_text('"file"')
    done = longshore("enqueue", "a", *arguments, "--redis", redis_url, cwd=tmp_path, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert stored(redis_client, done.stdout.strip()).payload == payload


def test_a_task_that_exists_is_refused_in_one_line(tmp_path: Path, redis_url: str) -> None:
    arguments = ("enqueue", "a", "--task-id", "t1", "--redis", redis_url)
    assert longshore(*arguments, cwd=tmp_path).returncode == 0
    done = longshore(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "longshore: queue 'default' already has a task with id 't1'\n"
