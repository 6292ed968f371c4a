"""Fixtures: the definitions in a real API server, a namespace a test, and an operator that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.harness import REPOSITORY, Namespace, OperatorProcess, running_operator
from localcluster.access import Access


@pytest.fixture(scope="session")
def definitions(control_plane: Access) -> Access:
    """A control plane that serves our four kinds."""
    control_plane.kubectl("apply", "--server-side", "--filename", REPOSITORY / "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", REPOSITORY / "crds")
    return control_plane


@pytest.fixture
def namespace(definitions: Access) -> Iterator[Namespace]:
    """A namespace of the test's own."""
    with definitions.namespace("handlers") as name:
        yield Namespace(definitions, name)


@pytest.fixture
def operator(namespace: Namespace, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that leads and serves the test's namespace alone."""
    with running_operator(namespace, tmp_path) as process:
        yield process
