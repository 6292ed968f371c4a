"""The page of differences from Asynq: every finding is in it, and every test it names is there."""

from __future__ import annotations

import re
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_PAGE = (_TESTS.parent / "docs" / "differences.md").read_text()


def test_the_page_has_a_row_for_each_finding() -> None:
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", _PAGE, re.MULTILINE)] == list(range(1, 31))


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", _PAGE)
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (_TESTS / file).read_text()]
    assert missing == []


def test_only_what_is_not_changed_has_no_test() -> None:
    rows = [line for line in _PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    assert all("::" in row or "Not changed" in row for row in rows)
