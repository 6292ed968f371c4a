"""Fixtures: a namespace, a proxy in front of its API server, and an operator that sees nothing but the proxy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults_operator.api_proxy import ApiProxy
from faults_operator.kubelet import Kubelet
from handlers.conftest import namespace
from handlers.harness import Namespace, OperatorProcess

__all__ = ["namespace"]


@pytest.fixture
def proxy(namespace: Namespace) -> Iterator[ApiProxy]:
    """Well until told otherwise."""
    with ApiProxy(namespace.access).serving() as proxy:
        yield proxy


@pytest.fixture
def behind(namespace: Namespace, proxy: ApiProxy, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator behind the proxy, which is not started yet."""
    operator = OperatorProcess(namespace, tmp_path, server=proxy.url)
    yield operator
    operator.stop()
    print(f"--- log of {operator.identity}:\n{operator.log}", file=sys.stderr)


@pytest.fixture
def kubelet(behind: OperatorProcess) -> Iterator[Kubelet]:
    """Keeps the operator behind the proxy alive; it leads when the test begins."""
    with Kubelet(behind).running() as kubelet:
        behind.wait_leading()
        yield kubelet
