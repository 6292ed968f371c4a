"""The reference page of the charts' values, from the comments in values.yaml; dev/reference.py writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
CHARTS = REPOSITORY / "helm"


def table(text: str) -> str:
    """Give the Markdown table of a values.yaml. Raises ValueError that names a value without a comment."""
    lines = text.splitlines()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode), "values.yaml must be a map"
    rows = ["| Value | Default | Meaning |", "|---|---|---|"]
    for path, default, comment in _rows(root, yaml.safe_load(text), lines):
        rows.append(f"| `{path}` | {default} | {comment.replace('|', '&#124;')} |")
    return "\n".join(rows) + "\n"


def _rows(
    node: yaml.MappingNode, values: dict[str, Any], lines: list[str], above: str = ""
) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        path, comment = f"{above}{key.value}", _comment(key, lines)
        if isinstance(value, yaml.MappingNode) and any(_comment(child, lines) for child, _ in value.value):
            if comment:
                yield path, "", comment
            yield from _rows(value, values[key.value], lines, f"{path}.")
        elif comment:
            flow = yaml.safe_dump(values[key.value], default_flow_style=True, width=1000, sort_keys=False)
            yield path, f"`{flow.splitlines()[0]}`", comment
        else:
            raise ValueError(f"{path}: has no comment above it in values.yaml")


def _comment(key: yaml.Node, lines: list[str]) -> str:
    """Give the comment right above a key, as one line."""
    found: list[str] = []
    number = key.start_mark.line - 1
    while number >= 0 and (line := lines[number].strip()).startswith("#"):
        found.insert(0, line.removeprefix("#").strip())
        number -= 1
    return " ".join(found)


def page() -> str:
    """Give the reference page of both charts' values."""
    parts = ["# Values of the charts\n"]
    for chart, what in (
        ("longshore", "The operator."),
        ("longshore-crds", "The definitions alone; within `longshore` these stand under `crds`."),
    ):
        parts += [f"## {chart}\n", f"{what}\n", table((CHARTS / chart / "values.yaml").read_text())]
    return "\n".join(parts)
