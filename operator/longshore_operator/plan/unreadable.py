"""The plan of an object whose spec cannot be read: to say so. What was made for it goes on as it is."""

from __future__ import annotations

from datetime import datetime

from longshore_operator.api import reasons
from longshore_operator.api.conditions import READY
from longshore_operator.api.resource import Resource
from longshore_operator.plan.actions import Plan
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.observed import Manifest
from longshore_operator.plan.status import report


def plan_unreadable(kind: str, raw: Manifest, problem: str, now: datetime) -> Plan:
    """``problem``: what parsing said of each field. Metadata and status are the API server's and can always be read."""
    resource = Resource.model_validate({"metadata": raw["metadata"], "status": raw.get("status") or {}})
    kept = {name: value for name, value in resource.status.items() if name not in ("conditions", "observedGeneration")}
    condition = Condition(type=READY, status=False, reason=reasons.INVALID_SPEC, message=problem)
    written = report(resource, kind=kind, conditions=[condition], fields=kept, now=now)
    return Plan(status=written.status, urgent=written.urgent, notes=written.notes)
