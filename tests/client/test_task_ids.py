"""Random ids: UUIDs of version 4, each once, in a forked process too."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from uuid import RFC_4122, UUID

import pytest

from longshore.producer.task_ids import random_ids


def test_each_is_a_random_uuid_and_another() -> None:
    ids = list(islice(random_ids(), 1000))
    assert len(set(ids)) == 1000
    for text in ids:
        parsed = UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, RFC_4122)


@pytest.mark.parametrize(
    ("entropy", "text"),
    [
        (b"\x00", "00000000-0000-4000-8000-000000000000"),
        (b"\xff", "ffffffff-ffff-4fff-bfff-ffffffffffff"),
    ],
)
def test_every_other_bit_is_the_systems(entropy: bytes, text: str) -> None:
    assert next(random_ids(lambda count: entropy * count)) == text


_FORKING = """
import os
from longshore.producer.task_ids import random_ids
ids = random_ids()
next(ids)
reader, writer = os.pipe()
if not os.fork():
    os.write(writer, next(ids).encode())
    os._exit(0)
assert os.read(reader, 36).decode() != next(ids)
os.wait()
"""


def test_a_forked_process_does_not_repeat_its_parents() -> None:
    subprocess.run([sys.executable, "-c", _FORKING], timeout=60, check=True)
