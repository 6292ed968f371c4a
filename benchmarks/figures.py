"""One figure that was measured, with its bar."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A row of the table of figures."""

    name: str  # what was measured, with its conditions
    bar: str  # what it should be
    figure: str  # what it is, with its unit
    ok: bool

    def row(self) -> str:
        """The row in Markdown."""
        return f"| {self.name} | {self.bar} | {self.figure} | {'yes' if self.ok else '**no**'} |"


HEAD = "| Figure | Bar | Measured | Met |\n|---|---|---|---|"


def table(figures: list[Figure]) -> str:
    """All of them in Markdown."""
    return "\n".join([HEAD, *(figure.row() for figure in figures)])
