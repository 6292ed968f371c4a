"""The pages on Asynq and Go peers: every finding is among the differences, and every test they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
_DOCS = _TESTS.parent / "docs"
_PAGE = (_DOCS / "differences.md").read_text()


def test_the_page_has_a_row_for_each_finding() -> None:
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", _PAGE, re.MULTILINE)] == list(range(1, 31))


@pytest.mark.parametrize(("page", "at_least"), [("differences.md", 30), ("interop.md", 8)])
def test_every_test_that_a_page_names_is_there(page: str, at_least: int) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (_DOCS / page).read_text())
    assert len(named) > at_least
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (_TESTS / file).read_text()]
    assert missing == []


def test_only_what_is_not_changed_has_no_test() -> None:
    rows = [line for line in _PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    assert all("::" in row or "Not changed" in row for row in rows)
