"""Fixtures: a namespace a test, and an operator that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.harness import Namespace, OperatorProcess, running_operator
from localcluster.access import Access


@pytest.fixture
def namespace(installed_definitions: Access) -> Iterator[Namespace]:
    """A namespace of the test's own."""
    with installed_definitions.namespace("handlers") as name:
        yield Namespace(installed_definitions, name)


@pytest.fixture
def operator(namespace: Namespace, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that leads and serves the test's namespace alone."""
    with running_operator(namespace, tmp_path) as process:
        yield process
