"""What docs/client.md says of options and waiting is what the code has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from longshore.client import DEFAULT_RETRY_FOR, Client
from longshore.producer.results import Results
from longshore.sync_client import SyncClient
from longshore.task import OPTIONS

_PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()


def test_the_table_lists_every_option_and_no_other() -> None:
    options = _PAGE.partition("## Options")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in options.splitlines() if row.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(OPTIONS)


def test_the_times_are_the_codes() -> None:
    looks = inspect.signature(Results).parameters
    assert f"`retry_for` ({DEFAULT_RETRY_FOR.total_seconds():g} s)" in _PAGE
    first, longest = (looks[name].default.total_seconds() for name in ("first_pause", "longest_pause"))
    assert f"after {first:g} s at first, at most {longest:g} s later on" in _PAGE


def test_the_client_without_an_event_loop_has_the_same_methods() -> None:
    for name in ("enqueue", "enqueue_many", "result", "watch", "ping"):
        parameters = [inspect.signature(getattr(each, name)).parameters for each in (Client, SyncClient)]
        assert parameters[0].keys() == parameters[1].keys(), name
