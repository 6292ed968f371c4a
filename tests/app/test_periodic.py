"""Periodic tasks declared in code: what an application makes of them, and what it refuses, at once where it can."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from longshore import NO_TIMEOUT, App, CatchUp, InvalidOption, Overlap, PeriodicTask, Task
from longshore.protocol.periodic import PeriodicTaskTemplate
from longshore.scheduler import declared_in


def entries(app: App) -> dict[str, Any]:
    return declared_in(app.periodic_tasks, app.options_for)


@pytest.mark.parametrize("above", [True, False], ids=["above", "below"])
def test_the_decorator_may_stand_above_or_below_that_of_the_task(above: bool) -> None:
    app = App()
    task = app.task("report/nightly", queue="reports", max_retry=3, headers={"a": "b"})
    periodic = app.periodic(
        "30 4 * * *",
        time_zone="Europe/Berlin",
        payload={"kind": "full"},
        max_retry=5,
        catch_up=CatchUp.ALL,
        starting_deadline=90,
        overlap=Overlap.FORBID,
        jitter=timedelta(minutes=5),
    )

    async def report(payload: dict[str, str]) -> None: ...

    assert (periodic(task(report)) if above else task(periodic(report))) is report
    [(name, entry)] = entries(app).items()
    assert name == "report:nightly"
    assert (entry.schedule, entry.time_zone, entry.catch_up) == ("30 4 * * *", "Europe/Berlin", CatchUp.ALL)
    assert entry.starting_deadline == timedelta(seconds=90)
    assert (entry.overlap, entry.jitter) == (Overlap.FORBID, timedelta(minutes=5))
    assert entry.task == PeriodicTaskTemplate(
        type="report/nightly", payload=b'{"kind":"full"}', queue="reports", max_retry=5, headers={"a": "b"}
    )


def test_one_handler_may_have_several_schedules_under_names() -> None:
    app = App()

    @app.periodic("@daily", name="every day", payload=1)
    @app.periodic("@hourly", name="every hour", payload=2)
    @app.task("report")
    async def report(payload: int) -> None: ...

    app.add_periodic("elsewhere", "@every 30s", Task("another:service", queue="there"))
    assert set(entries(app)) == {"every day", "every hour", "elsewhere"}


def test_an_included_application_brings_its_own_led_by_the_prefix() -> None:
    inner, app = App(), App()

    @inner.periodic("@daily")
    @inner.task("report")
    async def report() -> None: ...

    inner.add_periodic("foreign", "@daily", Task("another:service"))
    app.include(inner, prefix="shop:")
    assert {name: entry.task.type for name, entry in entries(app).items()} == {
        "shop:report": "shop:report",
        "foreign": "another:service",
    }


@pytest.mark.parametrize(
    ("schedule", "options", "says"),
    [
        ("61 * * * *", {}, "schedule: "),
        ("* * * * * *", {}, "schedule: "),
        ("@daily", {"time_zone": "Atlantis"}, "timeZone: unknown time zone 'Atlantis'"),
        ("@daily", {"name": " "}, "name: is ' '"),
        ("@daily", {"name": "a/b"}, "name: 'a/b' has a slash"),
        ("@daily", {"starting_deadline": 0}, "starting_deadline: must be at least 1 second"),
        ("@daily", {"starting_deadline": "soon"}, "starting_deadline: is 'soon'"),
        ("@daily", {"jitter": 3601}, "jitter: is 3601; give from 0 seconds to one hour"),
        ("@daily", {"jitter": -1}, "jitter: is -1; give from 0 seconds to one hour"),
        ("@daily", {"jitter": "little"}, "jitter: is 'little'"),
        ("@daily", {"overlap": "Forbid"}, "overlap: is 'Forbid'; give one of Overlap.ALLOW, Overlap.FORBID"),
        ("@daily", {"catch_up": "Latest"}, "catch_up: is 'Latest'"),
        ("@daily", {"task_id": "x"}, "task_id: is not for periodic tasks"),
        ("@daily", {"group": "x"}, "group: is not for periodic tasks"),
        ("@daily", {"process_in": 5}, "process_in: is not for periodic tasks"),
        ("@daily", {"timeout": NO_TIMEOUT}, "timeout: a periodic task needs a time limit"),
        ("@daily", {"queue": " "}, "queue: must not be blank"),
        ("@daily", {"payload": object()}, "payload: cannot be written as JSON"),
    ],
)
def test_what_cannot_be_used_is_refused_where_it_is_declared(schedule: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption) as raised:
        App().periodic(schedule, **options)
    assert str(raised.value).startswith(says)


def test_what_only_the_whole_application_can_tell_is_refused_by_the_scheduler() -> None:
    def stray() -> None: ...

    app = App()
    app.periodic("@daily")(stray)
    with pytest.raises(InvalidOption, match="is no handler"):
        entries(app)
    app.task("one")(stray)
    assert set(entries(app)) == {"one"}
    app.periodic("@hourly")(stray)
    with pytest.raises(InvalidOption, match="'one' is declared twice; give name="):
        entries(app)
    app.task("two")(stray)
    with pytest.raises(InvalidOption, match="is the handler of several types"):
        entries(app)
    grouped = App()
    grouped.task("one", group="all")(stray)
    grouped.add_periodic("x", "@daily", Task("one"))
    with pytest.raises(InvalidOption, match=r"'x': group: is not for periodic tasks"):
        entries(grouped)


def test_an_entry_without_a_name_is_another_one_as_soon_as_anything_of_it_differs() -> None:
    """Asynq's manager leaves out what is inside the task, and puts texts together without a boundary (D20)."""
    variants = [
        PeriodicTask(schedule="@daily", task=Task("a", "b")),
        PeriodicTask(schedule="@daily", task=Task("ab")),
        PeriodicTask(schedule="@daily", task=Task("a", "b", queue="other")),
        PeriodicTask(schedule="@daily", task=Task("a", "b", headers={"k": "v"})),
        PeriodicTask(schedule="@daily", task=Task("a", "b", max_retry=0)),
        PeriodicTask(schedule="@daily", task=Task("a", "b"), time_zone="Europe/Berlin"),
        PeriodicTask(schedule="@hourly", task=Task("a", "b")),
        PeriodicTask(schedule="@daily", task=Task("a", "b"), catch_up=CatchUp.NONE),
        PeriodicTask(schedule="@daily", task=Task("a", "b"), starting_deadline=5),
    ]
    names = [one.checked()[0] for one in variants]
    assert len(set(names)) == len(variants)
    assert [one.checked()[0] for one in variants] == names
