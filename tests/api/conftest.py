"""Fixtures: the definitions as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

CRDS = Path(__file__).resolve().parents[2] / "crds"


@pytest.fixture(scope="session")
def definitions() -> dict[str, dict[str, Any]]:
    """Kind to its CustomResourceDefinition."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    return {each["spec"]["names"]["kind"]: each for each in found}
