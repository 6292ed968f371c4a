"""docs/operator.md says what the code says: the settings with their variables and defaults, and the rights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from longshore_operator.__main__ import main
from longshore_operator.rbac import LEASE_RULES, RULES, Rule

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operator.md").read_text()


def rows(title: str) -> list[list[str]]:
    """The cells of every table row below a heading, without the head and the rule of each table."""
    section = re.split(r"^## ", PAGE.split(f"\n## {title}\n", 1)[1], flags=re.MULTILINE)[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.split(" | ")] for line in lines if not line.startswith(("API group", "Flag"))
    ]


def test_every_setting_is_documented_with_its_variable() -> None:
    options = {option.opts[0]: option.envvar for option in main.params}
    documented = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("Settings")}
    assert documented == options


@pytest.mark.parametrize("option", main.params, ids=lambda option: option.opts[0])
def test_a_default_is_documented(option: object) -> None:
    default = getattr(option, "default", None)
    if not isinstance(default, str | float):
        return  # none, or one that depends on where the process runs
    (cells,) = [cells for cells in rows("Settings") if cells[0].strip("`") == option.opts[0]]  # type: ignore[attr-defined]
    text = default if isinstance(default, str) else f"{default:g}"
    assert cells[2].strip("`") == text


def test_every_right_is_documented_with_its_reason() -> None:
    def row(rule: Rule) -> list[str]:
        resources = ", ".join(rule.resources) + "".join(f" `{name}`" for name in rule.names)
        return [f"`{rule.group}`" if rule.group else "core", resources, ", ".join(rule.verbs), rule.why]

    assert rows("Rights") == [row(rule) for rule in (*RULES, *LEASE_RULES)]


def test_no_right_is_a_wildcard_and_secrets_are_only_read() -> None:
    for rule in (*RULES, *LEASE_RULES):
        assert "*" not in {rule.group, *rule.resources, *rule.verbs}
        if "secrets" in rule.resources:
            assert rule.verbs == ("get",)
