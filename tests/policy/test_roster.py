"""Who does a queue's background duties, as one server sees it: alone, beside others, after a silence."""

from __future__ import annotations

from longshore.policy.roster import Roster
from longshore.protocol.notices import DutiesHeld, Standing

OLDEST = Standing(since=1.0, server_id="z")
OLDER = Standing(since=2.0, server_id="y")
SELF = Standing(since=3.0, server_id="m")
TWIN_BEFORE = Standing(since=3.0, server_id="a")
TWIN_AFTER = Standing(since=3.0, server_id="x")
YOUNGER = Standing(since=4.0, server_id="b")


def roster() -> Roster:
    return Roster(SELF, ["a", "b"], silence_s=6)


def says(standing: Standing, *queues: str) -> DutiesHeld:
    return DutiesHeld(standing=standing, queues=queues)


def test_a_server_that_hears_of_nobody_does_everything() -> None:
    assert roster().held(at=0) == ["a", "b"]


def test_what_an_older_server_does_is_left_to_it_until_it_falls_silent() -> None:
    one = roster()
    one.heard(says(OLDER, "a", "another's"), at=10)
    assert one.held(at=15.9) == ["b"]
    one.heard(says(OLDER, "a"), at=12)
    assert one.held(at=17.9) == ["b"]
    assert one.held(at=18) == ["a", "b"]


def test_a_younger_servers_word_and_ones_own_change_nothing() -> None:
    one = roster()
    for standing in (YOUNGER, SELF, TWIN_AFTER):
        one.heard(says(standing, "a", "b"), at=10)
        assert one.held(at=10) == ["a", "b"]


def test_of_servers_that_started_together_the_lesser_id_goes_first() -> None:
    one = roster()
    one.heard(says(TWIN_BEFORE, "b"), at=10)
    assert one.held(at=10) == ["a"]


def test_a_server_that_gives_up_is_followed_at_once() -> None:
    one = roster()
    one.heard(says(OLDER, "a", "b"), at=10)
    one.heard(says(OLDER), at=11)
    assert one.held(at=11) == ["a", "b"]


def test_the_oldest_of_several_counts() -> None:
    one = roster()
    one.heard(says(OLDEST, "a"), at=10)
    one.heard(says(OLDER, "a"), at=11)
    one.heard(says(OLDER), at=12)  # it has heard of the oldest
    assert one.held(at=12) == ["b"]
    assert one.held(at=16) == ["a", "b"]


def test_an_older_server_that_is_silent_makes_room_for_a_less_old_one() -> None:
    one = roster()
    one.heard(says(OLDEST, "a"), at=10)
    one.heard(says(OLDER, "a"), at=17)
    assert one.held(at=18) == ["b"]
