"""From a plan to its effects: the part that all four kinds share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from longshore_operator.api.resource import Resource as Model
from longshore_operator.cluster.resources import Resource
from longshore_operator.errors import BudgetRefused, ObjectInvalid, TemplateRefused
from longshore_operator.handlers.context import Context, Refusal
from longshore_operator.plan.actions import ApplyBudget, ApplyDeployment, Plan
from longshore_operator.plan.observed import ChildDeployment

# Until the next look when nothing happens: at objects that time alone may change, and at all others.
BUSY = timedelta(seconds=2)
QUIET = timedelta(seconds=30)
# After something was done, to see what became of it, if no event says so before.
SOON = timedelta(seconds=1)

MakePlan = Callable[[ChildDeployment | None, str | None], Plan]  # from the Deployment and why one was refused


async def plan_with_deployment(context: Context, owner: Model, name: str, make_plan: MakePlan) -> Plan:
    """Plan for an owner of a Deployment. Before one is made, the API server is asked whether the name is free.

    Only Deployments with our label are watched, and an apply would take over any other.
    """
    refused = context.refusal(owner.metadata.uid, owner.metadata.generation)
    child = context.children.known_deployment(owner, name)
    plan = make_plan(child, refused)
    if child is None and any(isinstance(action, ApplyDeployment) for action in plan.actions):
        child = await context.children.observe_deployment(owner, name)
        if child is not None:
            plan = make_plan(child, refused)
    return plan


async def execute(
    context: Context,
    resource: Resource,
    owner: Model,
    manifest: Mapping[str, Any],
    plan: Plan,
    *,
    broker: str,
    replan: Callable[[str | None], Plan] | None = None,
    unwritten: Callable[[], Plan] | None = None,
) -> tuple[Plan, timedelta | None]:
    """Carry the plan out and report it. The plan that came to pass, and how soon to look again (None: as ever).

    ``replan`` makes the plan that follows from the API server's refusal of a child, given why it refuses the
    Deployment (None: it does not); its actions are left undone.
    ``unwritten`` makes the plan that follows from what Redis did not take; what to do then is left to the next round.
    Raises ApiError; then nothing is reported, and all of it will be planned anew.
    """
    uid, generation = owner.metadata.uid, owner.metadata.generation
    poller = context.pollers.get((owner.namespace, broker))
    look_again: timedelta | None = None
    try:
        complete = await context.actions.carry_out(manifest, plan.actions, poller.inspector if poller else None)
    except TemplateRefused as error:
        if replan is None:
            raise
        context.refusals[uid] = Refusal(generation=generation, message=error.message)
        plan, look_again = replace(replan(error.message), actions=()), BUSY
    except BudgetRefused as error:
        if replan is None:
            raise
        _applied(context, uid, plan)  # it comes last: the Deployment was accepted
        context.budget_refusals[uid] = Refusal(generation=generation, message=error.message)
        plan, look_again = replace(replan(None), actions=()), BUSY
    else:
        _applied(context, uid, plan)
        if any(isinstance(action, ApplyBudget) for action in plan.actions):
            context.budget_refusals.pop(uid, None)
        if unwritten is not None and uid in context.actions.write_errors:
            plan = replace(unwritten(), actions=plan.actions)
        if plan.actions:
            look_again = SOON if complete else BUSY
    context.reported[uid] = manifest.get("status") or {} if plan.status is None else plan.status
    try:
        wait = await context.status.write(resource, manifest, plan)
    except ObjectInvalid:
        # An object that is so large that it has no room for a status: an Event is all that can tell of it.
        context.events.post(manifest, plan.notes)
        raise
    if plan.notes:
        context.events.post(manifest, plan.notes)
    waits = [each for each in (look_again, wait) if each is not None]
    return plan, min(waits, default=None)


def _applied(context: Context, uid: str, plan: Plan) -> None:
    if any(isinstance(action, ApplyDeployment) for action in plan.actions):
        context.refusals.pop(uid, None)
