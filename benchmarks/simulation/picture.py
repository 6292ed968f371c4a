"""The curves, drawn: a row for each load, a column for each scaler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

from simulation.outcome import Outcome, Sample

_EVERY = 15  # samples a point: a page is not wider
_NEEDED, _READY, _PAID = "#9aa5b1", "#0b6e99", "#d9480f"


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the picture as SVG, the same bytes for the same outcomes."""
    scalers = list(dict.fromkeys(outcome.scaler for outcome in outcomes))
    loads = list(dict.fromkeys(outcome.load.name for outcome in outcomes))
    with pyplot.rc_context({"svg.hashsalt": "longshore", "font.size": 8, "svg.fonttype": "none"}):
        figure, axes = pyplot.subplots(
            len(loads),
            len(scalers),
            figsize=(10, 1.9 * len(loads)),
            sharex="row",
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for outcome in outcomes:
            plot = axes[loads.index(outcome.load.name)][scalers.index(outcome.scaler)]
            samples = _thinned(outcome.samples)
            minutes = [sample.at / 60 for sample in samples]
            plot.fill_between(
                minutes, [sample.needed for sample in samples], step="post", color=_NEEDED, alpha=0.5, label="needed"
            )
            plot.step(minutes, [sample.paid for sample in samples], where="post", color=_PAID, lw=0.8, label="there")
            plot.step(minutes, [sample.ready for sample in samples], where="post", color=_READY, lw=1.0, label="ready")
            plot.set_title(f"{outcome.load.name}: {outcome.scaler}", fontsize=8, loc="left")
            plot.margins(x=0, y=0.05)
        for plot in axes[-1]:
            plot.set_xlabel("minutes")
        for row in axes:
            row[0].set_ylabel("replicas")
        axes[0][0].legend(loc="upper right", fontsize=7, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def _thinned(samples: Sequence[Sample]) -> list[Sample]:
    """Of each few samples the largest counts, so that no spike is lost."""
    thinned = []
    for begin in range(0, len(samples), _EVERY):
        few = samples[begin : begin + _EVERY]
        thinned.append(
            Sample(
                at=few[0].at,
                needed=max(sample.needed for sample in few),
                ready=max(sample.ready for sample in few),
                paid=max(sample.paid for sample in few),
                waiting=max(sample.waiting for sample in few),
            )
        )
    return thinned
