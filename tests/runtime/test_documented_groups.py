"""docs/groups.md: its example does what it says, and its settings are those of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from longshore import Client, Server
from longshore.cli.settings import SETTINGS
from longshore.policy.grouping import DEFAULT_GRACE_PERIOD, LARGEST_SET
from runtime.harness import serving, until

PAGE = (Path(__file__).parents[2] / "docs" / "groups.md").read_text()


async def test_the_example_prints_what_it_says(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    definitions, producer = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    [says] = re.findall(r"prints `([^`]+)`", PAGE)
    scope: dict[str, Any] = {}
    exec(definitions + producer, scope)
    async with Client(redis_url) as client, serving(scope["app"], redis_url):
        await scope["news"](client)
        printed = await until(lambda: capsys.readouterr().out)
    assert printed == says + "\n"


def test_the_settings_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(group_\w+)` \| `(--[\w-]+)` \| ([^|]+?) \|", PAGE, flags=re.MULTILINE)
    assert [(name, flag) for name, flag, _ in rows] == [
        (name, setting.flag) for name, setting in SETTINGS.items() if name.startswith("group_")
    ]
    assert {name for name, _, _ in rows} <= inspect.signature(Server).parameters.keys()
    assert rows[0][2] == f"{DEFAULT_GRACE_PERIOD.total_seconds():g} s"
    assert f"at most {LARGEST_SET:,}" in PAGE
