"""A chart's manifests as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "helm" / "longshore"
CRDS_CHART = REPOSITORY / "helm" / "longshore-crds"

Manifest = dict[str, Any]
Render = Callable[..., "Rendered"]


@dataclass(frozen=True)
class Rendered:
    """What one `helm template` gave."""

    manifests: tuple[Manifest, ...]

    def all(self, kind: str) -> list[Manifest]:
        """Give every manifest of a kind."""
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Manifest:
        """Give the only manifest of a kind (and name)."""
        (found,) = [each for each in self.all(kind) if name is None or each["metadata"]["name"] == name]
        return found
