"""The rules as `plan` applies them, against the cases that the API server is tried with (tests/api/test_rules.py)."""

from __future__ import annotations

from typing import Any

import pytest

from api.test_rules import GOOD, RULES, Rule, manifest, with_value
from longshore_operator.dry_run.definitions import definitions


def problems(raw: dict[str, Any]) -> list[str]:
    definition = definitions()[raw["kind"]]
    return definition.problems(definition.with_defaults(raw))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_plan_accepts_and_refuses_what_the_api_server_does(rule: Rule) -> None:
    for value in rule.good:
        assert problems(manifest(rule.kind, with_value(rule.kind, rule.path, value))) == []
    for value in rule.bad:
        assert problems(manifest(rule.kind, with_value(rule.kind, rule.path, value))), value


def test_a_broken_rule_is_told_with_the_field_and_the_words_of_the_definition() -> None:
    spec = {**GOOD["WorkerPool"], "autoscaling": {"maxReplicas": 3, "zeroAfter": "1 day"}}
    assert problems(manifest("WorkerPool", spec)) == [
        "spec.autoscaling.zeroAfter: must be a duration from 0s to 24h, written like 2m or 90s"
    ]


def test_an_unknown_field_is_told_with_those_that_are_known() -> None:
    (said,) = problems(manifest("WorkerPool", {**GOOD["WorkerPool"], "concurency": 3}))
    assert said.startswith("spec: unknown field concurency; known are brokerRef, queues")


def test_a_missing_field_is_told_by_name() -> None:
    (said,) = problems(manifest("WorkerPool", {"image": "shop:1.0"}))
    assert said == "spec: 'queues' is required"


def test_a_long_value_is_shortened_where_it_is_shown() -> None:
    said, _ = problems(manifest("WorkerPool", {**GOOD["WorkerPool"], "brokerRef": "X" * 61}))
    assert said.startswith("spec.brokerRef: 'XXX")
    assert "…" in said


@pytest.mark.parametrize("name", ["Mail", "-mail", "mail_workers", "n" * 48])
def test_a_name_that_the_api_server_would_refuse_is_refused(name: str) -> None:
    (said,) = problems(manifest("Queue", {}, name))
    assert said.startswith("metadata.name: ")


def test_defaults_are_those_of_the_schema() -> None:
    completed = definitions()["WorkerPool"].with_defaults(
        manifest("WorkerPool", {**GOOD["WorkerPool"], "autoscaling": {"maxReplicas": 3}})
    )
    assert completed["spec"]["queues"] == [{"name": "mail", "weight": 1}]
    assert completed["spec"]["brokerRef"] == "default"
    assert completed["spec"]["autoscaling"]["scaleDown"] == {"stabilization": "60s", "maxStep": "100%"}
