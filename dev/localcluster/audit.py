"""What service accounts asked of an API server, from its audit log: each kind of call once, with how often.

Where LONGSHORE_RIGHTS_DIR names a folder, every control plane leaves a summary there when it ends. The summaries of a
whole test run say which rights were used, and which were missing.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

SUMMARIES = "LONGSHORE_RIGHTS_DIR"
_ACCOUNT = "system:serviceaccount:"
_CONTROLLERS = f"{_ACCOUNT}kube-system:"


@dataclass(frozen=True, order=True, kw_only=True)
class Call:
    """A kind of request, in the words of RBAC."""

    account: str  # name of the service account, without its namespace
    verb: str
    group: str  # empty: the core API
    resource: str  # with its subresource, if any: deployments, brokers/status
    name: str  # of the one object; empty where the verb has none, or where there are too many to tell apart
    allowed: bool  # by the API server's authorizer; what was refused for another reason counts as allowed


def calls(folder: Path) -> Counter[Call]:
    """Count the calls of service accounts in the audit logs of a control plane's folder."""
    found: Counter[Call] = Counter()
    for log in sorted(folder.glob("audit*.log")):
        with log.open() as lines:
            for line in lines:
                found.update(_calls(line))
    return found


def _calls(line: str) -> Iterator[Call]:
    if _ACCOUNT not in line:
        return
    try:
        entry = json.loads(line)
    except ValueError:
        return  # the last line of a server that was killed
    user, asked = entry["user"]["username"], entry.get("objectRef")
    if not user.startswith(_ACCOUNT) or user.startswith(_CONTROLLERS):
        return
    if asked is None or entry.get("stage") == "ResponseStarted":
        return
    resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
    call = Call(
        account=user.rpartition(":")[2],
        verb=entry["verb"],
        group=asked.get("apiGroup", ""),
        resource=resource,
        # Rules name Leases only.
        name=asked.get("name", "") if resource == "leases" else "",
        allowed=entry.get("annotations", {}).get("authorization.k8s.io/decision") != "forbid",
    )
    yield call
    if call.verb == "patch" and entry.get("responseStatus", {}).get("code") == 201:
        yield replace(call, verb="create")  # an apply of what was not there is authorized as both


def leave_summary(folder: Path) -> None:
    """Write a control plane's calls into the folder that LONGSHORE_RIGHTS_DIR names; without it, do nothing."""
    if into := os.environ.get(SUMMARIES):
        rows = [{**asdict(call), "count": count} for call, count in sorted(calls(folder).items())]
        (Path(into) / f"{secrets.token_hex(8)}.json").write_text(json.dumps(rows, indent=1))


def read_summaries(folder: Path) -> Counter[Call]:
    """Add up what control planes have left in a folder."""
    found: Counter[Call] = Counter()
    for path in folder.glob("*.json"):
        for row in json.loads(path.read_text()):
            found[Call(**{name: value for name, value in row.items() if name != "count"})] += row["count"]
    return found
