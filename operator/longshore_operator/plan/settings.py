"""What the operator's own settings contribute to its plans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSettings:
    """The same for every object of one operator process."""

    image: str  # of schedulers whose Broker names none: the operator's own image
    image_pull_policy: str | None = None  # of that image; None: Kubernetes' default for its tag
