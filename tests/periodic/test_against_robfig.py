"""Our schedules against robfig/cron v3.0.1 itself, the library of Asynq and of the CronJob controller.

Random expressions in every zone, from times mostly near clock changes. They must agree, except for slips of robfig's
own that ``docs/periodic.md`` lists. Left out: what the rule itself says (test_schedule.py).
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from go_peer import build_program
from longshore.errors import InvalidOption
from longshore.policy.periodic import Schedule
from periodic.test_schedule import TROUBLE, random_expression, time_near_clock_change

pytestmark = pytest.mark.go

PEER = Path(__file__).parents[1] / "interop" / "cron"
TICKS = 6


@dataclass(frozen=True, kw_only=True)
class Question:
    spec: str
    start: int  # Unix seconds


@dataclass(frozen=True, kw_only=True)
class Answer:
    next: tuple[int, ...] | None = None  # None: refused
    panic: bool = False
    hangs: bool = False


Ask = Callable[[Sequence[Question]], list[Answer]]


@pytest.fixture(scope="module")
def ask_robfig(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    program = build_program(PEER, tmp_path_factory.mktemp("robfig"))
    # Both sides must read the same zone files, whose content changes a few times a year.
    environment = {**os.environ, "ZONEINFO": zone_files()}

    def ask(questions: Sequence[Question]) -> list[Answer]:
        lines = [json.dumps({"spec": q.spec, "from": q.start, "count": TICKS}) for q in questions]
        done = subprocess.run(
            [program], input="\n".join(lines), env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return [
            Answer(
                panic="panic" in answer,
                hangs="hangs" in answer,
                next=None if answer["next"] is None else tuple(answer["next"]),
            )
            for answer in answers
        ]

    return ask


def zone_files() -> str:
    """The folder that Python's zoneinfo reads."""
    for folder in zoneinfo.TZPATH:
        if Path(folder, "Europe", "Berlin").exists():
            return folder
    package = importlib.util.find_spec("tzdata")
    assert package is not None
    assert package.origin is not None
    return str(Path(package.origin).parent / "zoneinfo")


def ask_longshore(question: Question) -> Answer:
    try:
        schedule = Schedule.parse(question.spec)
    except InvalidOption:
        return Answer()
    at, found = datetime.fromtimestamp(question.start, UTC), list[int]()
    while len(found) < TICKS and (upcoming := schedule.next_after(at, at)) is not None:
        at = upcoming
        found.append(int(at.timestamp()))
    return Answer(next=tuple(found))


def robfig_slips_in(zone: ZoneInfo, first: int, last: int) -> bool:
    """Whether the clock changes in a way on which robfig's search loses its footing.

    It walks in whole local hours and days: a change that is no whole hour, or one that takes away or repeats a
    midnight, leaves it between them.
    """
    time = first - 2 * 86_400
    while time < min(last + 86_400, first + 10 * 366 * 86_400):
        here = datetime.fromtimestamp(time, zone)
        there = datetime.fromtimestamp(time + 1800, zone)
        before, after = here.utcoffset(), there.utcoffset()
        assert before is not None
        assert after is not None
        if before != after:
            around_midnight = here.hour == 23 or here.hour == 0 or there.hour <= 1
            if (after - before) % timedelta(hours=1) or around_midnight:
                return True
        time += 1800
    return False


@pytest.mark.parametrize("seed", range(4))
def test_random_expressions_run_when_robfig_runs_them(ask_robfig: Ask, seed: int) -> None:
    generator = random.Random(seed)
    zones = sorted(name for name in zoneinfo.available_timezones() if "/" in name)
    questions = []
    for _ in range(750):
        zone = generator.choice(TROUBLE if generator.random() < 0.5 else zones)
        start = time_near_clock_change(generator, zone)
        questions.append(Question(spec=f"CRON_TZ={zone} {random_expression(generator)}", start=start))

    same, slipped, wrong = 0, 0, []
    for question, theirs in zip(questions, ask_robfig(questions), strict=True):
        ours = ask_longshore(question)
        if ours == theirs:
            same += 1
            continue
        zone = ZoneInfo(question.spec.split()[0].removeprefix("CRON_TZ="))
        times = [question.start, *(ours.next or ()), *(theirs.next or ())]
        if robfig_slips_in(zone, min(times), max(times)):
            slipped += 1
        else:
            wrong.append((question, ours, theirs))
    assert wrong == []
    assert same > 700, f"{slipped} differ in zones where robfig slips: too many to be its slips alone"


AGREED = [
    "* * * * *", "?/5 * * * *", "*/5 * * * *", "0 0 */2 * 5", "0 0 1-31 * 5", "0 0 1,* * 5", "0 0 */1 * 5",
    "1,,2 * * * *", "+5 05 * * *", "0 0 * JAN-mar sun,WED", "0 0 30 2 *", "0 0 29 2 *", "@yearly", "@annually",
    "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "TZ=Asia/Tokyo @daily",
    "CRON_TZ=America/New_York  0 6 * * ?", "TZ=UTC   @daily  ", " 5 4 * * *", "5 4 * * * ", "10-20/99 * * * *",
    "50/3 * * * *",
    # and these are refused by both
    "", " ", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *",
    "* * * 13 *", "* * * * 7", "* * * * -1", "22-2 * * * *", "*/0 * * * *", "*/2/3 * * * *", "1-2-3 * * * *",
    "a * * * *", "1.5 * * * *", "0 0 L * *", "0 0 15W * *", "0 0 * * 5#2", "0 0 1 january *", "mon * * * *", "@Daily",
    "@reboot", "@every", "@every 5", "@every  5s", "@every day", "@every 3000000h", " @daily", "@daily ",
    "tz=UTC * * * * *", "TZ=Mars/Base * * * * *", "TZ=UTC\t* * * * *", "*/-1 * * * *", "/5 * * * *", "5- * * * *",
    "-5 * * * *", "*5 * * * *", "٣ * * * *",
]  # fmt: skip


def test_texts_are_understood_and_refused_as_robfig_does(ask_robfig: Ask) -> None:
    questions = [Question(spec=text, start=1_772_000_000) for text in AGREED]
    theirs = dict(zip(AGREED, ask_robfig(questions), strict=True))
    assert {question.spec: ask_longshore(question) for question in questions} == theirs


@pytest.mark.parametrize("text", ["@every 30s", "@every 1h30m", "@every 1.9s", "@every 10ms", "@every -5s", "@every 0"])
def test_intervals_are_as_long_as_robfigs_when_they_begin_together(ask_robfig: Ask, text: str) -> None:
    start = 1_772_000_000
    since = datetime.fromtimestamp(start, UTC)
    schedule, at, ours = Schedule.parse(text), since, list[int]()
    for _ in range(TICKS):
        at = schedule.next_after(at, since) or since
        ours.append(int(at.timestamp()))
    assert [Answer(next=tuple(ours))] == ask_robfig([Question(spec=text, start=start)])


REFUSED_BY_US_ALONE = {
    "a star with an end": "*-5 * * * *",
    "a field of commas": "0 0 , * *",
    "an empty zone": "TZ= * * * * *",
    "the machine's own zone": "TZ=Local * * * * *",
}


@pytest.mark.parametrize("text", REFUSED_BY_US_ALONE.values(), ids=REFUSED_BY_US_ALONE)
def test_a_slip_that_robfig_lets_pass_is_refused(ask_robfig: Ask, text: str) -> None:
    question = Question(spec=text, start=1_772_000_000)
    [theirs] = ask_robfig([question])
    assert theirs.next is not None
    assert ask_longshore(question) == Answer()


@pytest.mark.parametrize("text", ["TZ=UTC", "CRON_TZ=Europe/Berlin@daily"])
def test_a_prefix_that_panics_robfig_is_refused(ask_robfig: Ask, text: str) -> None:
    question = Question(spec=text, start=1_772_000_000)
    assert ask_robfig([question]) == [Answer(panic=True)]
    assert ask_longshore(question) == Answer()


# What robfig does where it slips, so that the document's list stays true.
SLIPS = {
    "a named weekday whose midnight does not exist is left out": (
        "CRON_TZ=Asia/Tehran 0 12 * * 5", "2019-03-21T11:12:40+03:30",
        "2019-03-22T12:00:00+04:30", "2019-03-29T12:00:00+04:30"),
    "the day after a midnight that does not exist runs in place of the named one": (
        "CRON_TZ=Asia/Beirut 45 15 * * 6", "2007-03-24T18:45:00+02:00",
        "2007-03-31T15:45:00+03:00", "2007-03-25T15:45:00+03:00"),
    "a change of half an hour leaves out the first half of the hour": (
        "CRON_TZ=Australia/Lord_Howe */53 23 * * *", "2024-04-06T23:53:00+11:00",
        "2024-04-07T23:00:00+10:30", "2024-04-07T23:53:00+10:30"),
    "a day that a zone leaves out makes the search endless": (
        "CRON_TZ=Pacific/Apia 0 12 * * 6", "2011-12-28T12:00:00-10:00",
        "2011-12-31T12:00:00+14:00", "never"),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "start", "ours", "theirs"), SLIPS.values(), ids=SLIPS)
def test_where_robfig_slips(ask_robfig: Ask, spec: str, start: str, ours: str, theirs: str) -> None:
    question = Question(spec=spec, start=int(datetime.fromisoformat(start).timestamp()))
    [answer] = ask_robfig([question])
    first, *_ = ask_longshore(question).next or ()
    assert first == datetime.fromisoformat(ours).timestamp()
    if theirs == "never":
        assert answer.hangs
    else:
        assert (answer.next or ())[0] == datetime.fromisoformat(theirs).timestamp()
