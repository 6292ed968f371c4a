"""A pool whose template has all that a pod can have, from the pool as it is stored to the Deployment as it stays."""

from __future__ import annotations

import pytest

from handlers.harness import Namespace, OperatorProcess, broker, pool
from handlers.waiting import eventually, stays
from plan.templates import EVERYTHING

pytestmark = pytest.mark.cluster


def test_a_template_with_everything_is_applied_once(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", template=EVERYTHING))
    made = eventually(lambda: namespace.get("Deployment", "crew-worker"), lambda now: now is not None)
    assert made is not None
    containers = made["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in containers] == ["worker", "logs"]
    assert made["spec"]["template"]["spec"]["initContainers"][1]["restartPolicy"] == "Always"
    generation = made["metadata"]["generation"]
    stays(lambda: (namespace.get("Deployment", "crew-worker") or {})["metadata"]["generation"], generation, for_s=5)
    applied = [line for line in operator.log.splitlines() if "deployment='crew-worker'" in line]
    assert len(applied) == 1, applied
    assert namespace.events("crew", "EditUndone") == []
