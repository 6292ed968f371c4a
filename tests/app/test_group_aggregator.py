"""Registering aggregators: which one a group's is, what is refused, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore import App, GroupedTask, InvalidOption, PayloadError, Task
from longshore.group_aggregator import GroupRouter
from longshore.policy.grouping import GroupingRule


def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
    return Task("merged")


def grouped(payload: bytes | None) -> GroupedTask:
    return GroupedTask(type="t", payload=payload, headers={}, id="i", queue="q", retried=0, joined_at=datetime.now(UTC))


def test_the_longest_prefix_of_a_groups_name_wins() -> None:
    app = App()
    for prefix in ("", "digest:", "digest:user:"):
        app.aggregator(prefix)(merge)
    router = GroupRouter(app.aggregators)
    found = [router.find(group) for group in ("digest:user:7", "digest:x", "other")]
    assert [one and one.prefix for one in found] == ["digest:user:", "digest:", ""]


def test_a_group_that_nobody_aggregates_has_no_aggregator() -> None:
    app = App()
    app.aggregator("digest:")(merge)
    assert GroupRouter(app.aggregators).find("other") is None


def test_aggregators_of_included_applications_come_along() -> None:
    outer, inner = App(), App()
    inner.aggregator("digest:")(merge)
    outer.include(inner, prefix="mail:")
    assert [one.prefix for one in outer.aggregators] == ["digest:"]
    with pytest.raises(InvalidOption, match="already aggregated"):
        outer.aggregator("digest:")(merge)
    outer.aggregator("late:")(merge)
    with pytest.raises(InvalidOption, match="already aggregated"):
        inner.aggregator("late:")(merge)


def test_one_application_cannot_include_another_that_aggregates_the_same() -> None:
    outer, inner = App(), App()
    outer.aggregator()(merge)
    inner.aggregator()(merge)
    with pytest.raises(InvalidOption, match="all groups are already aggregated by merge"):
        outer.include(inner)


def test_an_aggregator_may_have_its_own_limits() -> None:
    app = App()
    app.aggregator("a", grace_period=5, max_delay=timedelta(minutes=1), max_size=3)(merge)
    app.aggregator("b")(merge)
    default = GroupingRule(max_size=100)
    own, bare = (one.rule(default) for one in app.aggregators)
    assert own == GroupingRule(grace_period=timedelta(seconds=5), max_delay=timedelta(minutes=1), max_size=3)
    assert bare == default


def no_tasks(group: str) -> Task:
    return Task("t")


def too_many(group: str, tasks: Any, more: Any) -> Task:
    return Task("t")


def yields(group: str, tasks: Any) -> Iterator[Task]:
    yield Task("t")


@pytest.mark.parametrize(
    "function",
    [no_tasks, too_many, yields, "text"],
    ids=["no tasks", "too many", "yields", "no function"],
)
def test_a_function_that_groups_cannot_be_given_to_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(InvalidOption, match="aggregator"):
        App().aggregator()(function)


def test_the_decorator_must_be_called() -> None:
    with pytest.raises(InvalidOption, match=r"@app\.aggregator\(\)"):
        App().aggregator(merge)(merge)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"grace_period": 0.1}, {"max_delay": -1}, {"max_size": 20_000}], ids=str)
def test_a_limit_that_cannot_be_used_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="group"):
        App().aggregator(**settings)(merge)


@dataclass
class Like:
    user: int


def test_payloads_are_decoded_as_a_handlers_parameter_would_be() -> None:
    task = grouped(b'{"user":7}')
    assert task.payload == b'{"user":7}'
    assert task.decoded() == {"user": 7}
    assert task.decoded(Like) == Like(7)
    assert task.decoded(dict[str, int]) == {"user": 7}
    assert task.decoded(bytes) == b'{"user":7}'
    assert grouped(None).decoded() is None
    with pytest.raises(PayloadError, match="user"):
        grouped(b"{}").decoded(Like)


def test_payloads_stay_out_of_logs() -> None:
    assert "secret" not in repr(grouped(b"secret"))
