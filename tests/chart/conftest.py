"""The chart, rendered as `helm install` would."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from chart.rendered import CHART, Render, Rendered
from localcluster.access import Access


@pytest.fixture(scope="session")
def render(control_plane: Access) -> Render:
    """Render the chart with values given as `--set` words. Raises ClusterError with helm's own words."""

    def call(*values: str, chart: Path = CHART, namespace: str = "longshore-system") -> Rendered:
        sets = [word for value in values for word in ("--set", value)]
        # helm was compiled here without the version it would otherwise assume of a cluster it does not see.
        text = control_plane.helm(
            "template", "longshore", chart, "--namespace", namespace, "--kube-version", "1.34.0", *sets
        )
        return Rendered(tuple(document for document in yaml.safe_load_all(text) if document))

    return call
