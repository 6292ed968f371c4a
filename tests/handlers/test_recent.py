"""What is only known for a while is forgotten by itself, also when nobody asks for it any more."""

from __future__ import annotations

from longshore_operator.cluster.recent import Recent


def test_a_value_is_known_for_its_time_and_setting_it_again_begins_it_anew() -> None:
    now = 100.0
    recent: Recent[str, int] = Recent(3.0, clock=lambda: now)
    recent.set("a", 1)
    now += 2
    assert recent.get("a") == 1
    recent.set("a", 2)
    now += 2
    assert recent.get("a") == 2
    now += 1
    assert recent.get("a") is None


def test_what_nobody_asks_for_any_more_takes_no_room() -> None:
    now = 0.0
    recent: Recent[int, str] = Recent(3.0, clock=lambda: now)
    for number in range(1000):
        now += 0.1
        recent.set(number, "x")
    assert len(recent) <= 31
    now += 2
    recent.set(998, "again")
    now += 2
    assert (recent.get(998), recent.get(999)) == ("again", None)
    recent.forget(998)
    assert len(recent) == 0
