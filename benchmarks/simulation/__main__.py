"""Simulate every load under both scalers; write the table into docs/performance.md and draw docs/pictures/scaling.svg.

make simulation
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulation.loads import all_loads
from simulation.outcome import Outcome, simulate
from simulation.scalers import Keda, Longshore
from simulation.table import DOCUMENT, document_with, table

PICTURE = DOCUMENT.parent / "pictures" / "scaling.svg"


def main() -> None:
    """Simulate, print, write, draw."""
    from simulation.picture import draw

    outcomes: list[Outcome] = []
    for load in all_loads():
        outcomes += [simulate(load, Longshore()), simulate(load, Keda())]
    text = table(outcomes)
    print(text)
    DOCUMENT.write_text(document_with(DOCUMENT.read_text(encoding="utf-8"), text), encoding="utf-8")
    PICTURE.parent.mkdir(exist_ok=True)
    draw(outcomes, PICTURE)


if __name__ == "__main__":
    main()
