"""A rehearsal as text for people, as YAML to apply or compare, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from longshore_operator.dry_run.memory import Written
from longshore_operator.dry_run.rehearsal import Outcome, Rehearsal


def as_text(rehearsal: Rehearsal) -> str:
    """What would be done for each object, a block each, and a last line that sums it up."""
    blocks = ["\n".join(_block(outcome)) for outcome in rehearsal.outcomes]
    return "\n\n".join([*blocks, _summary(rehearsal)]) + "\n"


def as_yaml(rehearsal: Rehearsal) -> str:
    """The Kubernetes objects that would be applied, nothing else."""
    applied = [
        {**written.content, "metadata": {**written.content["metadata"], "namespace": outcome.namespace}}
        for outcome in rehearsal.outcomes
        for written in outcome.written
        if written.verb == "apply"
    ]
    return "---\n".join(yaml.safe_dump(each, sort_keys=False, allow_unicode=True) for each in _plain(applied))


def as_json(rehearsal: Rehearsal) -> str:
    """One object with the list ``objects``, in the order of the manifests, and ``good``."""
    return json.dumps(
        {
            "good": rehearsal.good,
            "objects": [
                {
                    "source": outcome.source,
                    "kind": outcome.kind,
                    "namespace": outcome.namespace,
                    "name": outcome.name,
                    "refused": outcome.refused,
                    "problem": outcome.problem,
                    "decision": outcome.status.get("decision"),
                    "status": outcome.status,
                    "writes": [
                        {"verb": each.verb, "what": each.what, "name": each.name, "content": each.content}
                        for each in outcome.written
                    ],
                }
                for outcome in rehearsal.outcomes
            ],
        },
        indent=2,
        default=_jsonable,
        ensure_ascii=False,
    )


def _block(outcome: Outcome) -> Iterator[str]:
    yield f"{outcome.kind} {outcome.namespace}/{outcome.name}  ({outcome.source})"
    for problem in outcome.refused:
        yield f"  refused: {problem}"
    if outcome.problem is not None:
        yield f"  not ready: {outcome.problem}"
    if "decision" in outcome.status:
        yield f"  replicas {outcome.status['decision']}"
    if outcome.status.get("nextTick"):
        yield f"  next tick {outcome.status['nextTick']}"
    for written in outcome.written:
        yield f"  {_line(written)}"
    if not (outcome.refused or outcome.written):
        yield "  written with its Broker's entries" if outcome.kind == "PeriodicTask" else "  nothing to do"


def _line(written: Written) -> str:
    if written.what == "Redis":
        details = ", ".join(f"{name} {_brief(value)}" for name, value in written.content.items() if value)
        return f"Redis: {written.verb} {written.name}{f': {details}' if details else ''}"
    details = ""
    if written.verb == "apply":
        spec = written.content.get("spec") or {}
        containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
        images = ", ".join(each["image"] for each in containers if "image" in each)
        parts = [f"{spec['replicas']} replicas" if "replicas" in spec else "", f"image {images}" if images else ""]
        if "maxUnavailable" in spec:
            parts.append(f"at most {spec['maxUnavailable']} unavailable")
        details = "; ".join(part for part in parts if part)
    elif written.verb == "patch":
        details = ", ".join(_paths(written.content))
    return f"{written.verb} {written.what} {written.name}{f': {details}' if details else ''}"


def _paths(patch: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in patch.items():
        if name in ("resourceVersion", "uid"):
            continue
        if isinstance(value, Mapping):
            yield from _paths(value, f"{above}{name}.")
        else:
            yield f"{above}{name} = {json.dumps(value)}"


def _brief(value: Any) -> str:
    return ", ".join(sorted(map(str, value))) if isinstance(value, Mapping | set | frozenset) else str(value)


def _summary(rehearsal: Rehearsal) -> str:
    refused = sum(bool(outcome.refused) for outcome in rehearsal.outcomes)
    unready = sum(outcome.problem is not None for outcome in rehearsal.outcomes)
    count = len(rehearsal.outcomes)
    parts = ["1 object" if count == 1 else f"{count} objects"]
    if refused:
        parts.append(f"{refused} refused")
    if unready:
        parts.append(f"{unready} not ready")
    if rehearsal.others:
        parts.append(f"{len(rehearsal.others)} of other kinds left alone")
    return ", ".join(parts)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_jsonable))


def _jsonable(value: Any) -> Any:
    match value:
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return sorted(value)
        case bytes():
            return value.decode(errors="replace")
    return str(value)
