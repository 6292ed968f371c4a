"""A Redis in trouble: counts are held, Redis' own words are told, nothing spins, and all goes on once it is well.

Proved on real servers, with one operator for the whole file; the Broker in trouble is one of two, and the other one's
pool scales meanwhile. Sentinels and clusters: tests/handlers/test_kinds_of_redis.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from faults_operator.scene import enqueue
from faults_operator.tenants import Tenants, two_tenants
from handlers.harness import broker, periodic_task, pool, queue
from handlers.waiting import eventually
from localcluster.access import Access
from longshore.testing import RedisServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
QUICK = {"maxReplicas": 9, "targetPerReplica": 1, "scaleDown": {"stabilization": "1s"}, "zeroAfter": "1s"}
PASSWORD = "pw-that-nobody-may-read"


@pytest.fixture(scope="module")
def tenants(installed_definitions: Access, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """One operator for the whole file."""
    with two_tenants(installed_definitions, tmp_path_factory.mktemp("tenants")) as tenants:
        yield tenants


@pytest.fixture(scope="module")
def sick(tenants: Tenants) -> Iterator[RedisServer]:
    """The other tenant's Redis, with a pool of two replicas, a paused queue and a periodic task; well at first."""
    hostile = tenants.hostile
    with RedisServer() as server:
        hostile.apply(broker(server.url))
        hostile.apply(pool("crew", "mail", autoscaling=QUICK))
        hostile.apply(queue("held", paused=True))
        hostile.apply(periodic_task("daily", "@daily"))
        asyncio.run(enqueue(server.url, "mail", 2))
        well(tenants)
        yield server


def well(tenants: Tenants) -> None:
    """Wait until all of it is in force."""
    hostile = tenants.hostile
    eventually(lambda: hostile.condition("Broker", "default", "Reachable"), ("True", "RedisAnswers"))
    eventually(lambda: hostile.condition("Queue", "held"), ("True", "OK"))
    eventually(lambda: hostile.condition("Queue", "held", "Paused"), ("True", "PausedBySpec"))
    eventually(lambda: hostile.condition("PeriodicTask", "daily"), ("True", "OK"))
    eventually(lambda: hostile.condition("Broker", "default"), ("False", "SchedulerStarting"))  # there is no node
    eventually(lambda: hostile.replicas("crew-worker"), 2)


def commands(admin: redis.Redis) -> int:
    return int(admin.info("stats")["total_commands_processed"])


def connections(admin: redis.Redis) -> int:
    return int(admin.info("stats")["total_connections_received"])


def full(admin: redis.Redis) -> Callable[[], object]:
    admin.config_set("maxmemory", "1")
    return lambda: admin.config_set("maxmemory", "0")


def replica(admin: redis.Redis) -> Callable[[], object]:
    admin.replicaof("127.0.0.1", 1)  # of a master that is not there: what it has is read, and nothing is taken
    return lambda: admin.replicaof("NO", "ONE")


def without_rights(admin: redis.Redis) -> Callable[[], object]:
    admin.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["-@write"])
    return lambda: admin.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(full, "maxmemory", id="full"),
        pytest.param(replica, "read only replica", id="replica"),
        pytest.param(without_rights, "permission", id="a user that may not write"),
    ],
)
def test_a_redis_that_takes_no_writes_is_told_of_and_what_is_asked_is_done_once_it_does(
    tenants: Tenants, sick: RedisServer, spoil: Callable[[redis.Redis], Callable[[], object]], says: str
) -> None:
    hostile, late = tenants.hostile, f"late-{says.split()[0]}"
    with closing(redis.Redis(port=sick.port)) as admin:
        mend = spoil(admin)
        hostile.apply(queue(late, paused=True, archive={"maxTasks": 5}))
        hostile.apply(periodic_task("hourly", "@hourly"))
        for kind, name in (("Queue", late), ("PeriodicTask", "hourly"), ("Broker", "default")):
            eventually(lambda kind=kind, name=name: hostile.condition(kind, name), ("False", "WriteRefused"))
            assert says in hostile.message(kind, name)
        assert hostile.condition("Queue", late, "Paused") == ("False", "NotPaused")
        assert hostile.condition("Broker", "default", "Reachable") == ("True", "RedisAnswers")
        assert hostile.replicas("crew-worker") == 2
        before = commands(admin)
        started = time.monotonic()
        tenants.unharmed()
        time.sleep(3)
        # a poll a second, commands of its scripts included, and three objects that try anew every other second
        assert commands(admin) - before < 200 * (time.monotonic() - started)
        mend()
    eventually(lambda: hostile.condition("Queue", late, "Paused"), ("True", "PausedBySpec"))
    for kind, name in (("Queue", late), ("PeriodicTask", "hourly"), ("Broker", "default")):
        eventually(
            lambda kind=kind, name=name: hostile.condition(kind, name),
            lambda ready: ready in (("True", "OK"), ("False", "SchedulerStarting")),
        )
    assert tenants.operator.log.count("Redis could not be written") <= 12  # once an object and fault, not once a try
    hostile.delete("Queue", late)
    hostile.delete("PeriodicTask", "hourly")
    well(tenants)


def wrong_password(admin: redis.Redis) -> Callable[[], object]:
    admin.config_set("requirepass", PASSWORD)
    admin.client_kill_filter(_type="normal", skipme=True)
    return lambda: admin.config_set("requirepass", "")


def test_a_redis_that_cannot_be_read_is_never_empty_and_neither_hurried_nor_hurrying(
    tenants: Tenants, sick: RedisServer
) -> None:
    hostile = tenants.hostile

    def held_while(says: str) -> None:
        eventually(lambda: hostile.condition("Broker", "default", "Reachable"), ("False", "BrokerUnreachable"))
        eventually(lambda: hostile.message("Broker", "default", "Reachable"), lambda said: says in said)
        eventually(lambda: hostile.condition("WorkerPool", "crew"), ("False", "BrokerUnreachable"))
        tenants.unharmed()
        assert hostile.replicas("crew-worker") == 2

    with closing(redis.Redis(port=sick.port)) as admin:
        mend = wrong_password(admin)
        before, started = connections(admin), time.monotonic()
        held_while("Authentication required")
        time.sleep(3)
        assert connections(admin) - before <= 10 + 5 * (time.monotonic() - started)
        mend()
    well(tenants)

    with closing(redis.Redis(port=sick.port)) as admin:
        admin.save()
    sick.freeze()
    held_while("does not answer within")
    sick.thaw()
    well(tenants)

    sick.stop()
    held_while("Connection refused")
    sick.start()
    well(tenants)  # with its tasks


def test_a_redis_that_lost_everything_gets_back_what_is_declared(tenants: Tenants, sick: RedisServer) -> None:
    hostile = tenants.hostile
    with closing(redis.Redis(port=sick.port)) as admin:
        assert admin.exists("asynq:{held}:paused") == 1
        admin.flushall()
        eventually(lambda: admin.exists("asynq:{held}:paused"), 1, within_s=10)
        eventually(lambda: any(b"periodic" in key for key in admin.scan_iter()), True, within_s=10)
    eventually(lambda: hostile.replicas("crew-worker"), 0)  # it is empty: that was read
    (event,) = hostile.events("held", "PauseRestored")
    assert event["type"] == "Warning"
    hostile.patch("WorkerPool", "crew", {"spec": {"autoscaling": {"scaleDown": {"stabilization": "1h"}}}})
    asyncio.run(enqueue(sick.url, "mail", 2))
    well(tenants)
    with closing(redis.Redis(port=sick.port)) as admin:
        admin.flushall()
        admin.save()
    sick.stop()
    sick.start()  # empty
    eventually(lambda: hostile.condition("Broker", "default", "Reachable"), ("True", "RedisAnswers"))
    with closing(redis.Redis(port=sick.port)) as admin:
        eventually(lambda: admin.exists("asynq:{held}:paused"), 1, within_s=10)
        eventually(lambda: any(b"periodic" in key for key in admin.scan_iter()), True, within_s=10)
    tenants.unharmed()
    assert hostile.replicas("crew-worker") == 2  # no shrink before the window has passed
