"""Handlers registered with the type of their payload, as a service does with its methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import redis

from longshore import App, Client, Context, InvalidOption, RetryPolicy
from runtime.harness import containers, message, serving, state, until


@dataclass
class WelcomeEmail:
    address: str
    language: str = "en"


class Mailer:
    def __init__(self) -> None:
        self.sent: list[tuple[str, WelcomeEmail]] = []

    async def welcome(self, ctx: Context, email: WelcomeEmail) -> None:
        self.sent.append((ctx.type, email))

    def untyped(self, ctx, email):  # type: ignore[no-untyped-def]
        self.sent.append((ctx.type, email))


async def test_a_bound_method_is_given_its_payload_as_a_value(redis_url: str, redis_client: redis.Redis) -> None:
    app, mailer = App(), Mailer()
    app.subscribe("email:welcome", mailer.welcome, payload=WelcomeEmail, queue="mail")
    app.subscribe("email:untyped", mailer.untyped, payload=WelcomeEmail)
    async with Client(redis_url) as producer, serving(app, redis_url):
        await producer.enqueue("email:welcome", WelcomeEmail("a@b"))
        await producer.enqueue("email:untyped", {"address": "c@d", "language": "fr"})
        wrong = (await producer.enqueue("email:untyped", {"adress": "c@d"})).message.id
        await until(lambda: len(mailer.sent) == 2)
        await until(lambda: state(redis_client, wrong) == "archived")
    assert sorted(mailer.sent, key=lambda one: one[0]) == [
        ("email:untyped", WelcomeEmail("c@d", "fr")),
        ("email:welcome", WelcomeEmail("a@b")),
    ]
    assert "adress" in (message(redis_client, wrong).error or "")
    assert containers(redis_client, wrong) == {"archived"}
    assert app.options_for("email:welcome") == {"queue": "mail"}


def test_it_takes_what_task_takes() -> None:
    app, mailer, policy = App(), Mailer(), RetryPolicy()
    app.subscribe("a", mailer.welcome, payload=WelcomeEmail, retry=policy, max_retry=3, rate_limit="5/s")
    handler = app.handler("a")
    assert handler.failure_policy.retry is policy
    assert handler.defaults == {"max_retry": 3}
    assert handler.limit is not None


def test_a_handler_without_room_for_the_payload_or_a_type_no_payload_can_be_is_refused() -> None:
    async def none() -> None: ...

    wrong: Any = none
    with pytest.raises(InvalidOption, match=r"handler: .*none takes no payload"):
        App().subscribe("a", wrong, payload=WelcomeEmail)
    with pytest.raises(InvalidOption, match=r"handler: .*parameter email"):
        App().subscribe("a", Mailer().untyped, payload=complex)


def test_a_handler_in_a_process_of_its_own_says_it_by_its_annotation() -> None:
    with pytest.raises(InvalidOption, match="payload: annotate the parameter of module_level"):
        App().task("a", payload=WelcomeEmail, process=True)(module_level)


def module_level(email): ...  # type: ignore[no-untyped-def]
