"""The outcomes as a table in Markdown, and its place in the documentation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from simulation.outcome import Outcome

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
_BEGIN, _END = "<!-- simulated: begin -->", "<!-- simulated: end -->"
_HEAD = (
    "| Load | Scaler | Reaction to a burst, median / longest | Under-provisioned | Over-provisioned "
    "| Wait of a task, p50 / p95 | Busy pods told to stop | Tasks interrupted |"
)


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each outcome, and what the loads are."""
    lines = [_HEAD, "|---|---|---|---:|---:|---|---:|---:|", *(_line(outcome) for outcome in outcomes)]
    loads = {outcome.load.name: outcome.load.about for outcome in outcomes}
    return "\n".join([*lines, "", *(f"- **{name}**: {about}." for name, about in loads.items())])


def document_with(document: str, text: str) -> str:
    """The document with the table in its place."""
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT}: has no place between {_BEGIN} and {_END}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _line(outcome: Outcome) -> str:
    reaction = ""
    if outcome.reactions:
        reaction = f"{statistics.median(outcome.reactions):.1f} / {max(outcome.reactions):.1f} s"
    return (
        f"| {outcome.load.name} | {outcome.scaler} | {reaction} | {outcome.under:,.0f} | {outcome.over:,.0f} "
        f"| {outcome.wait_p50:.1f} / {outcome.wait_p95:.1f} s | {outcome.asked_to_stop_busy} | {outcome.interrupted} |"
    )
