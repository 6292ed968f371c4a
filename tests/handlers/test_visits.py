"""What is kept between two visits of an object, and what a visit does of one that is gone.

Left out: what a visit does otherwise (the other tests here, and tests/plan).
"""

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
from longshore_operator.cluster.resources import WORKER_POOLS, Resource
from longshore_operator.errors import OwnerGone
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
    """In which the pool is deleted while it is being visited, or was before, if it is told so."""

    context: Context
    deletes = False
    deleted = False

    async def carry_out(self, owner: Any, actions: Sequence[Action], inspector: Inspector | None) -> bool:
        if self.deleted:
            raise OwnerGone("not found", request="PATCH …", status=404)
        if self.deletes:
            self.context.view.remove(WORKER_POOLS, KEY.namespace, KEY.name)
            self.context.forget(owner["metadata"]["uid"])
        return True


def pool_manifest() -> Manifest:
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": "u", "generation": 1, "resourceVersion": "1"}
    spec = {"queues": [{"name": "mail"}], "image": "shop:1.0", "autoscaling": {"maxReplicas": 3}}
    return {"apiVersion": "longshore.dev/v1alpha1", "kind": KEY.kind, "metadata": metadata, "spec": spec}


def new_context(**given: Any) -> Context:
    clock = asyncio.get_running_loop().time
    unused = cast(ApiClient, None)
    view = View()
    actions = Cluster(unused, written=view.put, clock=clock)
    actions.context = Context(
        view=view,
        children=Children(unused, view, clock=clock),
        pollers=Pollers(read_secrets=cast(Any, None), on_news=lambda *_: None, clock=clock),
        actions=actions,
        status=Silent(unused, written=view.put, clock=clock),
        events=Events(unused, identity="here", clock=clock),
        settings=PlanSettings(image="longshore:test"),
        now=lambda: datetime.now(UTC),
        **given,
    )
    view.put(WORKER_POOLS, pool_manifest())
    return actions.context


async def test_nothing_is_kept_of_an_object_that_goes_during_its_visit() -> None:
    context = new_context()
    await visit(context, KEY)
    assert context.reported.keys() == {"u"}
    cast(Cluster, context.actions).deletes = True
    await visit(context, KEY)
    assert context.reported == {}


async def test_an_object_that_a_write_does_not_find_is_taken_for_deleted_though_no_watch_tells_of_it() -> None:
    lost: list[Manifest] = []

    def forget(_: Resource, manifest: Manifest) -> None:
        lost.append(manifest)
        context.view.remove(WORKER_POOLS, KEY.namespace, KEY.name)

    context = new_context(lost=forget)
    cast(Cluster, context.actions).deleted = True
    assert await visit(context, KEY) is None
    assert lost == [pool_manifest()]
    assert context.reported == {}
    assert await visit(context, KEY) is None
    assert len(lost) == 1
