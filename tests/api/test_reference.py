"""The reference pages say what the definitions and the tables of conditions and reasons say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import reference
from longshore_operator.api import reasons
from longshore_operator.api.conditions import CONDITIONS
from longshore_operator.api.reasons import REASONS, Reason

OPERATOR = Path(reasons.__file__).parents[1]
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", ["custom-resources.md", "conditions.md", "metrics.md", "values.md", "scaling.md"])
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / "reference" / name).read_text() == reference.pages()[name], "run: python dev/reference.py"


def test_every_page_is_generated() -> None:
    found = {path.name for path in (DOCS / "reference").glob("*.md")}
    assert found == set(reference.pages())


def test_the_links_between_the_pages_lead_somewhere() -> None:
    for path in (DOCS / "reference").glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+\.md)[^)]*\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the operator but the table of reasons itself."""
    for path in OPERATOR.rglob("*.py"):
        if path != Path(reasons.__file__):
            yield path, ast.parse(path.read_text())


def test_every_reason_that_is_documented_is_one_that_the_operator_gives() -> None:
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for _, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute | ast.Name)
    }
    constants = {value: name for name, value in vars(reasons).items() if isinstance(value, str) and value in REASONS}
    assert constants.keys() == REASONS.keys()
    assert {name for name in constants.values() if name not in used} == set()


def test_every_reason_that_the_operator_gives_is_documented() -> None:
    """Conditions and Events take theirs from the table: none is written where it is used."""
    written = [
        f"{path.relative_to(OPERATOR)}: {keyword.value.value}"
        for path, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Condition", "Note")
        for keyword in node.keywords
        if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant)
    ]
    assert written == []


@pytest.mark.parametrize("reason", REASONS.values(), ids=lambda reason: str(reason.name))
def test_a_reason_stands_at_conditions_that_there_are(reason: Reason) -> None:
    known = {(each.kind, each.type) for each in CONDITIONS}
    kinds = {each.kind for each in CONDITIONS}
    for place in reason.where.split("; "):
        if place == "Event":
            continue
        found = re.fullmatch(r"(?P<kinds>[\w, ]+?),? (?P<type>\w+)=(True|False|Unknown)", place)
        assert found, place
        named = kinds if found["kinds"] == "any kind" else set(found["kinds"].split(", "))
        assert {(kind, found["type"]) for kind in named} <= known, place
