"""Fixtures for the tests with Go peers: one empty Redis, met by both sides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from asynqmon import Asynqmon, OldPeer, asynqmon_on
from go_peer import build_program
from longshore import Client, Inspector, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from redis_kinds import AnyRedis, go_address


@pytest.fixture
def port(redis_url: str, any_redis: AnyRedis) -> str:
    """Where Go peers find the Redis."""
    return go_address(any_redis)


@pytest_asyncio.fixture
async def broker(redis_url: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    yield broker
    await broker.aclose()


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url) as client:
        yield client


@pytest_asyncio.fixture
async def inspector(redis_url: str) -> AsyncIterator[Inspector]:
    async with Inspector(redis_url) as inspector:
        yield inspector


@pytest.fixture(scope="session")
def asynqmon_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released web UI, with the Asynq it names. Its tests carry the marker ``go``."""
    return build_program(Path(__file__).parent / "asynqmon", tmp_path_factory.mktemp("asynqmon"))


@pytest.fixture
def asynqmon(asynqmon_program: Path, port: str) -> Iterator[Asynqmon]:
    """The web UI's REST API on this test's Redis."""
    with asynqmon_on(asynqmon_program, port) as api:
        yield api


@pytest.fixture
def old_peer(asynqmon_program: Path, port: str) -> OldPeer:
    """Asynq 0.24.1 on this test's Redis."""
    return OldPeer(asynqmon_program, port)
