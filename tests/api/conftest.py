"""Fixtures: the definitions as files and in a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.access import Access

CRDS = Path(__file__).resolve().parents[2] / "crds"


@pytest.fixture(scope="session")
def definitions() -> dict[str, dict[str, Any]]:
    """Kind to its CustomResourceDefinition."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    return {each["spec"]["names"]["kind"]: each for each in found}


@pytest.fixture(scope="session")
def api_server(control_plane: Access) -> Access:
    """A control plane that serves our four kinds."""
    control_plane.kubectl("apply", "--server-side", "--filename", CRDS)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", CRDS)
    return control_plane
