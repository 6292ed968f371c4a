"""The page of guarantees names tests that are there, and every fault test is on it."""

from __future__ import annotations

import re
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_PAGE = (_TESTS.parent / "docs" / "guarantees.md").read_text()


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", _PAGE)
    missing = [f"{file}::{test}" for file, test in named if f"def {test}" not in (_TESTS / file).read_text()]
    assert missing == []


def test_every_fault_test_is_on_the_page() -> None:
    tests = [
        (f"faults/{file.name}", test)
        for file in Path(__file__).parent.glob("test_*.py")
        if file != Path(__file__)
        for test in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    ]
    assert len(tests) > 7
    assert [f"{file}::{test}" for file, test in tests if f"`{file}::{test}`" not in _PAGE] == []
