"""What the shop does in the background. Workers run it as `longshore worker shop.tasks:app`."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime

import longshore
from shop import pictures, store

app = longshore.App()


@dataclass(frozen=True, kw_only=True)
class WelcomeEmail:
    """Sent by the Go service that signs customers up."""

    user_id: int
    name: str
    address: str


@app.task("email:welcome")
async def welcome(ctx: longshore.Context, email: WelcomeEmail) -> None:
    """Greet a new customer."""
    async with store.journal(ctx):
        text = f"Dear {email.name}, good to have you here."
        await asyncio.sleep(random.uniform(0.3, 0.9))  # a mail server takes its time to answer
        await store.database().rpush(store.OUTBOX, json.dumps({"to": email.address, "text": text}))


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """Asked for by the Go service that takes uploads."""

    image_id: int
    width: int


@app.task("image:thumbnail")
def thumbnail(ctx: longshore.Context, wanted: Thumbnail) -> None:
    """Shrink an article's picture. It computes, so it is a plain function: it runs in a thread."""
    with store.journal_from_thread(ctx):
        small = pictures.shrink(pictures.original(wanted.image_id), wanted.width)
        store.database_for_threads().hset(store.THUMBNAILS, str(wanted.image_id), pictures.png(small))


@app.task("baskets:release")
async def release_baskets(ctx: longshore.Context) -> None:
    """Give back what lies in baskets abandoned for an hour; a periodic task."""
    async with store.journal(ctx):
        hour_ago = datetime.now(UTC).timestamp() - 3600
        await store.database().zremrangebyscore("shop:baskets", "-inf", hour_ago)


@app.task("report:nightly")
async def nightly_report(ctx: longshore.Context) -> None:
    """Count what was done; a periodic task."""
    async with store.journal(ctx):
        report = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "emails": await store.database().llen(store.OUTBOX),
            "thumbnails": await store.database().hlen(store.THUMBNAILS),
        }
        await store.database().rpush(store.REPORTS, json.dumps(report))
