"""The chart, rendered as `helm install` would."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from chart.rendered import CHART, REPOSITORY, Render, Rendered
from localcluster.access import Access

PEER = REPOSITORY / "tests" / "interop" / "asynqmon"


@pytest.fixture(scope="session")
def render(control_plane: Access) -> Render:
    """Render the chart with values given as `--set` words. Raises ClusterError with helm's own words."""

    def call(*values: str, chart: Path = CHART, namespace: str = "longshore-system") -> Rendered:
        sets = [word for value in values for word in ("--set", value)]
        # helm was compiled here without the version it would otherwise assume of a cluster it does not see.
        text = control_plane.helm(
            *("template", "longshore", chart, "--namespace", namespace, "--kube-version", "1.34.0"),
            # Where the definitions are installed.
            *("--api-versions", "longshore.dev/v1alpha1/Broker"),
            *sets,
        )
        return Rendered(tuple(document for document in yaml.safe_load_all(text) if document))

    return call


@pytest.fixture(scope="session")
def asynqmon_source() -> str:
    """Give the source of asynqmon's own program, in the release that the chart runs."""
    version = yaml.safe_load((CHART / "values.yaml").read_text())["asynqmon"]["image"]["tag"]
    command = ["go", "list", "-m", "-json", f"github.com/hibiken/asynqmon@v{version}"]
    environment = {**os.environ, "GOFLAGS": "-mod=mod"}
    listed = subprocess.run(command, cwd=PEER, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return (Path(json.loads(listed.stdout)["Dir"]) / "cmd" / "asynqmon" / "main.go").read_text()
