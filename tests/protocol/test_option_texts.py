"""Options as schedulers publish them: Asynq's forms, those its own readers lose, and any garbage (D21)."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.errors import InvalidOption
from longshore.policy.enqueue_options import render_options
from longshore.policy.periodic import Schedule
from longshore.protocol.messages import SchedulerEntry
from longshore.protocol.option_texts import read_option
from longshore.protocol.periodic import PeriodicTaskTemplate


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("MaxRetry(3)", "MaxRetry", 3),
        ('Queue("critical")', "Queue", "critical"),
        ('TaskID("x")', "TaskID", "x"),
        ('Group("g")', "Group", "g"),
        ("Timeout(30s)", "Timeout", timedelta(seconds=30)),
        ("Unique(1h0m0s)", "Unique", timedelta(hours=1)),
        ("Retention(24h0m0s)", "Retention", timedelta(days=1)),
        ("ProcessIn(5m0s)", "ProcessIn", timedelta(minutes=5)),
        ("Deadline(Tue Jan  2 03:04:05 UTC 2024)", "Deadline", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("ProcessAt(Fri Nov 22 03:04:05 CET 2024)", "ProcessAt", None),
        ('Header(["k","v"])', "Header", ("k", "v")),
        ('Header(["k" "v"])', "Header", ("k", "v")),
        ('Queue("a)b(c")', "Queue", "a)b(c"),
        (r'TaskID("\"\\\n\t\x00\u00e9\U0001f600é")', "TaskID", '"\\\n\t\x00éé'.replace("éé", "é\U0001f600é")),
        (r'Queue("\xc3\xa9\xff")', "Queue", "é\ufffd"),
        (r'Queue("\ud800")', "Queue", "?"),
        (r'Queue("\UFFFFFFFF")', "Queue", None),
        (r'Queue("\q")', "Queue", None),
        ("MaxRetry", "MaxRetry", None),
        ("MaxRetry(", "MaxRetry", None),
        ("MaxRetry)3(", "MaxRetry)3", None),
        ("MaxRetry(many)", "MaxRetry", None),
        ("MaxRetry(99999999999)", "MaxRetry", None),
        ("Timeout(long)", "Timeout", None),
        ("Deadline(Tue Foo 99 03:04:05 UTC 2024)", "Deadline", None),
        ("Deadline(Tue Jan 31 25:04:05 UTC 2024)", "Deadline", None),
        ('Header(["k"])', "Header", None),
        ("Queue(critical)", "Queue", None),
        ("Novelty(1)", "Novelty", None),
        ("", "", None),
        ("()", "", None),
    ],
)
def test_a_text_is_read_or_kept(text: str, name: str, value: object) -> None:
    option = read_option(text)
    assert (option.text, option.name, option.value) == (text, name, value)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert read_option(text).text == text


@given(
    st.sampled_from(["MaxRetry", "Queue", "TaskID", "Group", "Timeout", "Deadline", "ProcessAt", "Header", "Unique"]),
    st.text(alphabet='"\\xuU0123456789abcdefsmh,[]()- :é\udcff'),
)
def test_no_content_of_a_known_option_raises(name: str, content: str) -> None:
    assert read_option(f"{name}({content})").name == name


@given(st.text(), st.text())
def test_what_we_publish_is_read_back(queue: str, value: str) -> None:
    texts = render_options(PeriodicTaskTemplate(type="t", queue=queue, max_retry=0, headers={"k": value}))
    entry = SchedulerEntry(
        id="x", spec="@daily", task_type="t", payload=b"", options=texts, next_at=None, previous_at=None
    )
    assert [option.value for option in entry.read_options()] == [queue, 0, ("k", value)]


@given(
    st.sampled_from(["TZ=", "CRON_TZ=", "@", "@every ", ""]),
    st.text(alphabet="TZ=CRON_ /UTC@everydaily*-,?0123456789s"),
)
def test_no_schedule_raises_anything_but_what_is_wrong_with_it(prefix: str, text: str) -> None:
    with contextlib.suppress(InvalidOption):
        Schedule.parse(prefix + text)
