"""The table of cases that specify the scaling decision, from the tests into docs/reference/scaling.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
CASES = "<!-- cases: written by dev/reference.py from tests/plan/decisions.yaml -->\n"
CASES_END = "<!-- end of cases -->\n"


def page() -> str:
    """The page as it is, with the table of cases that the tests hold the decision to."""
    text = (REPOSITORY / "docs" / "reference" / "scaling.md").read_text()
    head, _, rest = text.partition(CASES)
    _, end, tail = rest.partition(CASES_END)
    if not end:
        raise SystemExit(f"docs/reference/scaling.md: the lines {CASES.strip()} and {CASES_END.strip()} are missing")
    return f"{head}{CASES}\n{_cases()}\n{CASES_END}{tail}"


def _cases() -> str:
    groups = yaml.safe_load((REPOSITORY / "tests" / "plan" / "decisions.yaml").read_text())
    parts = []
    for group in groups:
        parts += [f"### {group['group']}\n", "| Case | Spec | Before | Now | Decision |", "|---|---|---|---|---|"]
        parts += [_case(case) for case in group["cases"]]
        parts.append("")
    return "\n".join(parts)


def _case(case: Mapping[str, Any]) -> str:
    pool = {name: value for name, value in case.get("pool", {}).items() if value is not None}
    spec = [f"{name}: {_short(value)}" for name, value in {**pool, **case.get("spec", {})}.items() if value is not None]
    if "autoscaling" in case.get("pool", {}):
        spec.append("no autoscaling")
    before = ["no Deployment"] if case.get("new") else [f"{case.get('replicas', 0)} workers"]
    if case.get("for") == "0s":
        before.append("the operator has just started")
    elif "for" in case:
        before.append(f"the operator started {case['for']} ago")
    before += [f"{each['ago']} ago: {_poll({**each, 'ago': None})}" for each in case.get("then", ())]
    before += [f"someone set {case['found']}"] if "found" in case else []
    before += [f"speed {case['speed']}/s"] if "speed" in case else []
    if "flow" in case:
        before.append("flow not known" if case["flow"] is None else f"flow {case['flow']}/s")
    now = [_poll(case.get("now", {}))]
    if "at" in case:
        now.append(case["at"].replace("T", " ")[:19] + f" ({case['at'][19:]})")
    decides = f"{case['decides']}"
    if "leaves" in case:
        decides += f" (the count stays {case['leaves']})"
    cells = (case["case"], "; ".join(spec), "; ".join(before), "; ".join(now), decides)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


_WORDS = {
    "pending": "{} pending",
    "due": "{} due",
    "dueWithin": "due within {}",
    "running": "{} running",
    "busy": "{} busy",
    "unseen": "{} active, unseen",
    "grouped": "{} in groups",
    "paused": "queue paused",
    "unreadable": "queue unreadable",
    "otherWeight": "another pool of weight {}",
    "failed": "poll {} in a row that failed",
}


def _poll(poll: Mapping[str, Any]) -> str:
    told = [_WORDS[name].format(_short(value)) for name, value in poll.items() if value is not None]
    return ", ".join(told) or "nothing"


def _short(value: Any) -> str:
    """A value of a field in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_short(each)}" for name, each in value.items())
    if isinstance(value, list):
        return " and ".join(_short(each) for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
