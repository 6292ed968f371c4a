"""An operator for some namespaces of a cluster, with Roles there and none elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.harness import Namespace, broker, pool, running_operator
from handlers.waiting import eventually
from localcluster.access import Access

pytestmark = pytest.mark.cluster


def test_an_operator_serves_the_namespaces_it_is_given_and_no_other(
    installed_definitions: Access, namespace: Namespace, tmp_path: Path, redis_url: str
) -> None:
    access = installed_definitions
    with access.namespace("one") as one, access.namespace("two") as two, access.namespace("three") as three:
        before, after, foreign = (Namespace(access, name) for name in (one, two, three))
        for each in (before, foreign):
            each.apply(broker(redis_url))
            each.apply(pool("crew", "mail"))
        with running_operator(namespace, tmp_path, LONGSHORE_WATCH_NAMESPACE=f"{one}, {two}") as operator:
            after.apply(broker(redis_url))
            after.apply(pool("crew", "mail", replicas=3))
            eventually(lambda: before.replicas("crew-worker"), 1)
            eventually(lambda: after.replicas("crew-worker"), 3)
            assert operator.probe("/livez")[0] == 200
        assert foreign.get("Deployment", "crew-worker") is None
        assert "status" not in (foreign.get("WorkerPool", "crew") or {})
        for each in (before, after):
            each.delete("WorkerPool", "crew")
            each.patch("Broker", "default", {"metadata": {"finalizers": []}})
