"""The reference pages say what the definitions and the tables of conditions and reasons say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reference

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
