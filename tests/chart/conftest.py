"""The chart, rendered as `helm install` would."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from chart.rendered import CHART, Render, Rendered
from localcluster.access import Access
from localcluster.errors import MachineCannot
from localcluster.fixtures import skipped_where_impossible


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
    return (go_module(f"github.com/hibiken/asynqmon@v{version}") / "cmd" / "asynqmon" / "main.go").read_text()


@pytest.fixture(scope="session")
def prometheus_definitions() -> list[Path]:
    """Give the definitions that the chart's objects for Prometheus need."""
    module = go_module("github.com/prometheus-operator/prometheus-operator@v0.85.0")
    folder = module / "example" / "prometheus-operator-crd"
    kinds = ("servicemonitors", "podmonitors", "prometheusrules")
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in kinds]


def go_module(version: str) -> Path:
    """Fetch a module, if it is not there yet; gives its folder. Skips the test where there is no Go."""
    with skipped_where_impossible():
        if shutil.which("go") is None:
            raise MachineCannot(f"{version} is a module of Go, and there is no Go on the PATH")
    with tempfile.TemporaryDirectory() as folder:  # no go.mod of anybody's has a say
        done = subprocess.run(
            ["go", "mod", "download", "-json", version], cwd=folder, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr or done.stdout
    return Path(json.loads(done.stdout)["Dir"])
