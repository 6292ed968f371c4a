"""What is kept between two visits of an object. Left out: what a visit does (the other tests here, and tests/plan)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from longshore.inspector import Inspector
from longshore_operator.apply.actions import Actions
from longshore_operator.apply.events import Events
from longshore_operator.apply.status import StatusWriter
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.resources import WORKER_POOLS
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.visits import visit
from longshore_operator.observe.children import Children
from longshore_operator.observe.redis import Pollers
from longshore_operator.observe.view import Key, Manifest, View
from longshore_operator.plan.actions import Action
from longshore_operator.plan.settings import PlanSettings

KEY = Key(kind="WorkerPool", namespace="shop", name="mail")


class Silent(StatusWriter):
    """Says nothing."""

    async def write(self, *_: Any) -> None:
        return None


class Cluster(Actions):
    """In which the pool is deleted while it is being visited, if it is told so."""

    context: Context
    deletes = False

    async def carry_out(self, owner: Any, actions: Sequence[Action], inspector: Inspector | None) -> bool:
        if self.deletes:
            self.context.view.remove(WORKER_POOLS, KEY.namespace, KEY.name)
            self.context.forget(owner["metadata"]["uid"])
        return True


def pool_manifest() -> Manifest:
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": "u", "generation": 1, "resourceVersion": "1"}
    spec = {"queues": [{"name": "mail"}], "image": "shop:1.0", "autoscaling": {"maxReplicas": 3}}
    return {"apiVersion": "longshore.dev/v1alpha1", "kind": KEY.kind, "metadata": metadata, "spec": spec}


async def test_nothing_is_kept_of_an_object_that_goes_during_its_visit() -> None:
    clock = asyncio.get_running_loop().time
    unused = cast(ApiClient, None)
    view = View()
    actions = Cluster(unused, written=view.put, clock=clock)
    actions.context = context = Context(
        view=view,
        children=Children(unused, view, clock=clock),
        pollers=Pollers(read_secrets=cast(Any, None), on_news=lambda *_: None, clock=clock),
        actions=actions,
        status=Silent(unused, written=view.put, clock=clock),
        events=Events(unused, identity="here", clock=clock),
        settings=PlanSettings(image="longshore:test"),
        now=lambda: datetime.now(UTC),
    )
    view.put(WORKER_POOLS, pool_manifest())
    await visit(context, KEY)
    assert context.reported.keys() == {"u"}
    actions.deletes = True
    await visit(context, KEY)
    assert context.reported == {}
