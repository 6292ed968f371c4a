"""What servers tell one another: read as it was written, later versions' words passed over, nonsense refused."""

from __future__ import annotations

import pytest

from longshore.errors import InvalidData
from longshore.protocol.notices import (
    Afterwards,
    CancelTask,
    DutiesHeld,
    Notice,
    QueuePaused,
    QueueResumed,
    Standing,
    TakeTurn,
    decode_notice,
    encode_notice,
)


@pytest.mark.parametrize(
    "notice",
    [
        DutiesHeld(standing=Standing(since=1700000000.123456, server_id="s"), queues=("a", "☃")),
        DutiesHeld(standing=Standing(since=1.0, server_id="s"), queues=()),
        QueuePaused(queue="q"),
        QueueResumed(queue='"'),
        CancelTask(queue="q", task_id="1"),
        TakeTurn(server_id="s", queue="q", limit="mail:"),
        CancelTask(queue="q", task_id="1", then=Afterwards.DELETE),
    ],
)
def test_a_notice_is_read_as_it_was_written(notice: Notice) -> None:
    assert decode_notice(encode_notice(notice)) == notice


def test_a_notice_of_a_later_version_is_passed_over() -> None:
    assert decode_notice(b'{"moon":"full"}') is None
    assert decode_notice(b'{"paused":"q","by":"somebody"}') == QueuePaused(queue="q")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"7",
        b"null",
        b'{"paused":1}',
        b'{"duties":["q"]}',
        b'{"duties":[1],"server":"s","since":1}',
        b"[" * 9999,
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidData):
        decode_notice(data)
