"""The example's manifests, as they are and as the demo hurries them up, against a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from chart.rendered import REPOSITORY
from localcluster.access import Access

pytestmark = pytest.mark.cluster

EXAMPLE = REPOSITORY / "examples" / "shop" / "manifests"
DEMO = REPOSITORY / "dev" / "demo" / "manifests"


@pytest.mark.parametrize("folder", [EXAMPLE, DEMO], ids=["the example", "the demo"])
def test_the_api_server_accepts(installed_definitions: Access, folder: Path) -> None:
    with installed_definitions.namespace("example") as namespace:
        said = installed_definitions.kubectl(
            "apply", "--namespace", namespace, "--kustomize", folder, "--dry-run=server", "--validate=strict"
        )
    assert said.count("created") == 12
