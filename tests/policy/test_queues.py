"""In which order queues are asked."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from longshore.errors import InvalidOption
from longshore.policy.queues import checked_queues, strict_order, weighted_order


def test_strict_order_is_by_priority_and_then_as_given() -> None:
    assert strict_order({"low": 1, "a": 3, "high": 9, "b": 3}) == ("high", "a", "b", "low")


def test_a_queue_comes_first_as_often_as_its_weight_says_and_every_queue_is_asked() -> None:
    queues = {"critical": 6, "default": 3, "low": 1}
    random = Random(7)
    orders = [weighted_order(queues, among=queues, random=random) for _ in range(10_000)]
    first = Counter(order[0] for order in orders)
    assert all(sorted(order) == ["critical", "default", "low"] for order in orders)
    assert {queue: round(first[queue] / 10_000, 1) for queue in queues} == {"critical": 0.6, "default": 0.3, "low": 0.1}


def test_only_the_queues_asked_for_take_part() -> None:
    assert weighted_order({"a": 1, "b": 2}, among={"b"}, random=Random(1)) == ["b"]
    assert weighted_order({"a": 1}, among=(), random=Random(1)) == []


@pytest.mark.parametrize(
    ("queues", "problem"),
    [
        ({}, "queues: give at least one queue, e.g. default=1"),
        ({" ": 1}, "queues: a queue name is blank"),
        ({"\udcff": 1}, "queues: the name '\\udcff' is not valid Unicode"),
        ({"a": 0}, "queues: the priority of 'a' is 0; give a whole number from 1 to 2147483647"),
        ({"a": True}, "queues: the priority of 'a' is True; give a whole number from 1 to 2147483647"),
        ({"a": 2**31}, "queues: the priority of 'a' is 2147483648; give a whole number from 1 to 2147483647"),
    ],
)
def test_queues_nobody_could_serve_are_refused_by_name(queues: dict[str, int], problem: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        checked_queues(queues)
    assert str(refused.value) == problem
