"""What happens when Redis is away, slow, restarted, full, or not what was expected."""

from __future__ import annotations

import asyncio
import re
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


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://:s3cret@127.0.0.1", "must begin with one of these schemes"),
        ("s3cret:6379", "must begin with one of these schemes"),
        ("redis://127.0.0.1:s3cret", "cannot be read; write redis://"),
        ("redis://:s3cret/word@127.0.0.1:6379/0", "write %40 for @, %2F for /"),
        ("redis://:s3cret?word@127.0.0.1:6379", "write %40 for @, %2F for /"),
        ("redis://:123/s3cret@127.0.0.1:6379", "has a / \\? or # before its @"),
        ("redis://:123?s3cret@127.0.0.1:6379", "has a / \\? or # before its @"),
        ("redis://:123#s3cret@127.0.0.1:6379", "has a / \\? or # before its @"),
        ("redis://[s3cret", "cannot be read; write redis://"),
        ("redis://:sécr\u2100@127.0.0.1", "cannot be read; write redis://"),
        ("redis://127.0.0.1/s3cret", "must be a database's number"),
        ("redis://127.0.0.1?db=s3cret", "Invalid value for 'db'"),
        ("redis://127.0.0.1?socket_timeout=s3cret", "'socket_timeout' is no option of its query; there are db, "),
        ("redis://127.0.0.1?ssl_ca_certs=s3cret", r"its TLS options \(ssl_ca_certs\) cannot be used"),
        ("rediss://127.0.0.1?ssl_cert_reqs=s3cret", r"its TLS options \(ssl_cert_reqs\) cannot be used"),
        ("", "must begin with one of these schemes"),
        ("redis-sentinel://:s3cret@h1,h2/0", "append \\?master=name"),
        ("redis-sentinel://:s3cret@h1,h2/0?master=", "append \\?master=name"),
        ("redis-sentinel://:s3cret@h1,,h2?master=m", "lacks a host; write redis-sentinel://"),
        ("redis-sentinel://:s3cret@h1:port?master=m", "cannot be read; write redis-sentinel://"),
        ("redis-sentinel://h1?master=m&sentinel_pass=s3cret", "'sentinel_pass' is no option of its query"),
        ("redis-sentinel://:s3c@ret/@h1?master=m", "has a / \\? or # before its @"),
        ("redis-cluster://:s3cret@", "lacks a host; write redis-cluster://"),
        ("redis-cluster://:s3cret@h1,h2/1", "a cluster has no databases"),
        ("redis-cluster://h1,h2?master=s3cret", "'master' is no option of its query"),
        ("redis-cluster://:s3cret@h1:99999", "cannot be read; write redis-cluster://"),
        ("redis-cluster://:s3cret@[h1", "cannot be read; write redis-cluster://"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_at_once_without_repeating_it(url: str, problem: str) -> None:
    with pytest.raises(InvalidOption, match=f"redis URL: .*{problem}") as error:
        _connect(url)
    shown: BaseException | None = error.value
    while shown is not None:  # a traceback shows what it came from as well, unless that is suppressed
        assert not re.search("s3cret|sécr|123", str(shown))
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def test_settings_do_not_show_their_passwords() -> None:
    settings = RedisSettings(url="redis://ada:hidden@h", username="ada", password="hidden", sentinel_password="hidden")
    assert "hidden" not in repr(settings)
    assert "ada" in repr(settings)


def test_a_time_limit_is_a_timedelta_of_more_than_zero() -> None:
    for wrong, problem in ((5, "must be a timedelta, not int"), (timedelta(), "must be more than zero")):
        with pytest.raises(InvalidOption, match=f"redis timeout: {problem}"):
            RedisBroker.connect(RedisSettings(timeout=wrong))  # type: ignore[arg-type]


async def test_a_unix_socket_is_spoken_to(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer("--unixsocket", str(path)):
        broker = _connect(f"unix://{path}?db=2")
        await broker.ping()
        await broker.aclose()
    with pytest.raises(BrokerUnavailable, match=rf"Redis at {path}: "):
        await _connect(f"unix://{path}").ping()


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


async def test_a_call_that_waits_for_its_turn_behind_many_others_waits_no_longer_than_any() -> None:
    with RedisServer() as server:
        broker = _connect(server.url, timeout=timedelta(seconds=1))
        server.freeze()
        async with asyncio.timeout(15):  # turn after turn they would take 20 seconds
            results = await asyncio.gather(*(broker.ping() for _ in range(640)), return_exceptions=True)
        assert {type(result) for result in results} == {BrokerUnavailable}
        server.thaw()
        await broker.ping()
        await broker.aclose()


async def test_one_lost_call_tells_that_idle_connections_are_lost_as_well(redis_server: RedisServer) -> None:
    lost = asyncio.Event()  # what was connected until then gets no answers, and no end either
    passing_on = set()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, new: bool) -> None:
        while data := await source.read(65536):
            if new or not lost.is_set():
                target.write(data)
        target.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing_on.add(asyncio.current_task())
        new = lost.is_set()
        from_redis, to_redis = await asyncio.open_connection(redis_server.host, redis_server.port)
        await asyncio.gather(pump(reader, to_redis, new=new), pump(from_redis, writer, new=new))

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        broker = _connect(f"redis://127.0.0.1:{port}", timeout=timedelta(seconds=1))
        await asyncio.gather(*(broker.ping() for _ in range(10)))
        lost.set()
        with pytest.raises(BrokerUnavailable, match="does not answer within 1 s"):
            await broker.ping()
        await broker.ping()
        await broker.aclose()
        await asyncio.wait_for(asyncio.gather(*passing_on), 10)


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


async def test_a_call_cancelled_at_any_of_its_steps_leaves_no_connection_open(
    redis_url: str, redis_client: redis.Redis
) -> None:
    before = len(redis_client.client_list())
    for steps in range(12):
        broker = _connect(redis_url)
        await broker.ping()  # a connection that lies idle, for the next call to take
        call = asyncio.create_task(broker.ping())
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await broker.aclose()
    for _ in range(1000):  # Redis notices a closed connection a moment later
        if len(redis_client.client_list()) == before:
            break
        await asyncio.sleep(0.01)
    assert len(redis_client.client_list()) == before


@pytest.mark.one_server
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


@pytest.mark.one_server
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
