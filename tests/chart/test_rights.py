"""The comparison of the operator's rights with what it asked for, on made-up summaries.

`make test-cluster` makes real ones, and ends with the comparison.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import rights
from localcluster import audit
from localcluster.audit import Call


def everything() -> Counter[Call]:
    """Each right used once."""
    return Counter(
        Call(account="operator", verb=verb, group=group, resource=resource, name=name, allowed=True)
        for verb, group, resource, name in rights.granted()
    )


LISTED = Call(account="operator", verb="list", group="", resource="secrets", name="", allowed=False)


def test_rights_that_are_all_used_are_fine() -> None:
    assert rights.differences(everything()) == []


def test_a_right_that_nothing_used_is_told() -> None:
    found = Counter({call: count for call, count in everything().items() if call.resource != "secrets"})
    assert rights.differences(found) == ["granted, and never used: get secrets"]


def test_a_call_that_was_refused_does_not_count_as_a_use() -> None:
    found = Counter(
        {
            replace(call, allowed=(call.verb, call.resource) != ("delete", "deployments")): count
            for call, count in everything().items()
        }
    )
    assert rights.differences(found) == ["granted, and never used: delete deployments of apps"]


@pytest.mark.parametrize("account", ["operator", "longshore"])
def test_a_call_that_no_rule_grants_is_told(account: str) -> None:
    found = everything() + Counter({replace(LISTED, account=account): 3})
    assert rights.differences(found) == ["refused 3 times, and no rule grants it: list secrets"]


def test_a_lease_of_another_name_is_not_the_operators() -> None:
    other = Call(
        account="operator", verb="update", group="coordination.k8s.io", resource="leases", name="other", allowed=False
    )
    (told,) = rights.differences(everything() + Counter([other]))
    assert "update leases of coordination.k8s.io" in told


def test_other_accounts_are_none_of_ours() -> None:
    assert rights.differences(everything() + Counter({replace(LISTED, account="default"): 1})) == []


def test_summaries_of_several_control_planes_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plane, summaries = tmp_path / "plane", tmp_path / "summaries"
    plane.mkdir()
    summaries.mkdir()
    entry = {
        "stage": "ResponseComplete",
        "verb": "patch",
        "user": {"username": "system:serviceaccount:home:operator"},
        "objectRef": {"resource": "brokers", "subresource": "status", "apiGroup": "longshore.dev", "name": "default"},
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    created = {**entry, "responseStatus": {"code": 201}, "objectRef": {"resource": "deployments", "apiGroup": "apps"}}
    refused = {**entry, "annotations": {"authorization.k8s.io/decision": "forbid"}}
    foreign = {**entry, "user": {"username": "admin"}}
    lines = [json.dumps(each) for each in (entry, {**entry, "stage": "ResponseStarted"}, foreign, refused, created)]
    (plane / "audit.log").write_text("\n".join([*lines, '{"user": {"username": "system:serviceaccount:cut o']))
    monkeypatch.setenv(audit.SUMMARIES, str(summaries))
    for _ in range(2):
        audit.leave_summary(plane)
    found = audit.read_summaries(summaries)
    assert set(found.values()) == {2}
    assert {(call.verb, call.resource, call.allowed) for call in found} == {
        ("patch", "brokers/status", True),
        ("patch", "brokers/status", False),
        ("patch", "deployments", True),
        ("create", "deployments", True),  # an apply that made the object
    }
