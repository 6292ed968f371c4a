"""What happens when Redis is away, slow, restarted, full, or not what was expected."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from longshore.broker.base import EnqueueResult, NewTask, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import BrokerUnavailable, InvalidOption, WrongType
from longshore.protocol import keys
from longshore.testing import RedisServer, new_message, read_keyspace

_NOW = datetime.now(UTC)
_LEASE = timedelta(seconds=30)


def _connect(url: str, **settings: object) -> RedisBroker:
    return RedisBroker.connect(RedisSettings(url=url, **settings))  # type: ignore[arg-type]


async def test_a_redis_that_is_not_there_is_named_with_its_reason() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound, so that nobody else listens there
        port = listener.getsockname()[1]
        broker = _connect(f"redis://127.0.0.1:{port}")
        with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{port}.*Connection refused"):
            await broker.ping()
        await broker.aclose()


async def test_a_host_that_does_not_exist_is_named() -> None:
    broker = _connect("redis://no-such-host.invalid:6379")
    with pytest.raises(BrokerUnavailable, match=r"no-such-host\.invalid:6379: .*not known"):
        await broker.ping()


async def test_a_wrong_password_is_told_in_redis_words_and_the_right_one_overrides_the_urls() -> None:
    with RedisServer("--requirepass", "secret") as server:
        for url, password in ((server.url, None), (server.url, "wrong")):
            broker = _connect(url, password=password)
            with pytest.raises(BrokerUnavailable, match=r"(?i)auth|password"):
                await broker.ping()
            await broker.aclose()
        broker = _connect(server.url.replace("127.0.0.1", ":wrong@127.0.0.1"), password="secret")
        await broker.ping()
        await broker.aclose()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port", ""])
def test_a_url_that_cannot_be_read_is_refused_at_once_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidOption, match="redis URL: "):
        _connect(url)


async def test_a_redis_that_does_not_answer_in_time_is_unavailable_and_serves_again_later() -> None:
    with RedisServer() as server:
        broker = _connect(server.url, timeout=timedelta(seconds=1))
        await broker.ping()
        server.freeze()
        with pytest.raises(BrokerUnavailable, match=r"does not answer within 1 s"):
            await broker.ping()
        server.thaw()
        await broker.ping()
        await broker.aclose()


async def test_a_restarted_redis_is_used_again_though_it_has_lost_its_scripts() -> None:
    with RedisServer() as server:
        broker = _connect(server.url)
        assert await broker.enqueue([NewTask(message=new_message())], now=_NOW) == [EnqueueResult.CREATED]
        server.stop()
        with pytest.raises(BrokerUnavailable):
            await broker.enqueue([NewTask(message=new_message())], now=_NOW)
        server.start()
        messages = [new_message() for _ in range(3)]
        scheduled = [
            NewTask(message=new_message(), process_at=_NOW + _LEASE),
            *(NewTask(message=message) for message in messages),
        ]
        assert await broker.enqueue(scheduled, now=_NOW) == [EnqueueResult.CREATED] * 4
        taken = await broker.dequeue("default", limit=9, now=_NOW, lease=_LEASE)
        assert [leased.message for leased in taken.leased] == messages
        await broker.aclose()


async def test_a_flushed_script_cache_goes_unnoticed(broker: RedisBroker, redis_client: redis.Redis) -> None:
    for _ in range(2):
        redis_client.script_flush()
        assert await broker.enqueue([NewTask(message=new_message())], now=_NOW) == [EnqueueResult.CREATED]
    assert redis_client.llen(keys.pending("default")) == 2


async def test_a_full_redis_is_unavailable_in_its_own_words(broker: RedisBroker, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable, match="maxmemory"):
            await broker.enqueue([NewTask(message=new_message())], now=_NOW)
    finally:
        redis_client.config_set("maxmemory", "0")


async def test_a_key_of_another_type_is_named(broker: RedisBroker, redis_client: redis.Redis) -> None:
    redis_client.set(keys.pending("default"), "text")
    with pytest.raises(
        WrongType, match=r"asynq:\{default\}:pending: is a string, but Asynq keeps a list there"
    ) as error:
        await broker.dequeue("default", limit=1, now=_NOW, lease=_LEASE)
    assert error.value.key == keys.pending("default")
    with pytest.raises(WrongType, match=r"asynq:\{default\}:pending"):
        await broker.wait_for_task("default", timeout=timedelta(seconds=1))
    redis_client.set(keys.QUEUES, "text")
    with pytest.raises(WrongType, match="asynq:queues"):
        await broker.enqueue([NewTask(message=new_message(queue="low"))], now=_NOW)


async def test_a_cancelled_call_does_not_mix_up_the_replies_of_later_ones() -> None:
    with RedisServer() as server:
        broker = _connect(server.url)
        await broker.enqueue([NewTask(message=new_message(id="a"))], now=_NOW)
        server.freeze()
        call = asyncio.create_task(broker.dequeue("default", limit=1, now=_NOW, lease=_LEASE))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        server.thaw()
        assert await broker.enqueue([NewTask(message=new_message(id="a"))], now=_NOW) == [EnqueueResult.ID_CONFLICT]
        await broker.aclose()


async def test_hundreds_of_calls_at_once_share_a_few_connections(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    before = redis_client.info("stats")["total_connections_received"]
    tasks = [NewTask(message=new_message()) for _ in range(500)]
    results = await asyncio.gather(*(broker.enqueue([task], now=_NOW) for task in tasks))
    assert results == [[EnqueueResult.CREATED]] * 500
    assert redis_client.llen(keys.pending("default")) == 500
    assert redis_client.info("stats")["total_connections_received"] - before <= 32


async def test_a_closed_broker_says_so_and_closing_twice_is_fine(redis_url: str) -> None:
    broker = _connect(redis_url)
    await broker.ping()
    await broker.aclose()
    await broker.aclose()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await broker.ping()


async def test_the_database_of_the_url_is_used(redis_url: str, redis_client: redis.Redis) -> None:
    broker = _connect(redis_url.removesuffix("0") + "3")
    await broker.enqueue([NewTask(message=new_message(id="a"))], now=_NOW)
    await broker.aclose()
    assert read_keyspace(redis_client) == {}
    with redis.Redis.from_url(redis_url.removesuffix("0") + "3") as third:
        assert third.exists(keys.task("default", "a"))


def test_tls_is_spoken_and_an_unknown_certificate_refused(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with RedisServer(*arguments, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"):

        async def ping(url: str) -> None:
            broker = _connect(url)
            try:
                await broker.ping()
            finally:
                await broker.aclose()

        asyncio.run(ping(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"))
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            asyncio.run(ping(f"rediss://127.0.0.1:{port}/0"))
