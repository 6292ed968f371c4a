"""The rights that docs/redis.md names are enough for all that each program does; a missing one is named."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import redis

from longshore import BrokerUnavailable, Client, RedisSettings
from longshore.broker import scripts
from longshore.broker.scripts import Script
from longshore.testing import RedisServer
from topologies.roles import ROLES, rights

# A script's commands, as it calls them by name. Those that it calls by a variable, the roles' programs come across.
_CALLED = re.compile(rb'redis\.p?call\("([A-Za-z]+)"')

_OF_CLIENTS = {"enqueue", "read_task"}
_OF_SCHEDULERS = {"tick", "hold_scheduler_lease", "release_scheduler_lease", "write_periodic_errors", "read_entries"}
_OF_SCHEDULERS |= {"publish_scheduler", "record_enqueue_event"}
_OF_INSPECTORS = {"queue_snapshot", "list_tasks", "read_task", "run_task", "archive_task", "delete_task", "run_all"}
_OF_INSPECTORS |= {
    "queue_snapshots",
    "tick_records",
    "update_payload",
    "archive_all",
    "delete_all",
    "hold_queue",
    "remove_queue",
    "memory_usage",
    "limit_archive",
    "read_entries",
}
_ALL = {script.name: script for script in vars(scripts).values() if isinstance(script, Script)}
_SCRIPTS = {
    "client": _OF_CLIENTS,
    "scheduler": _OF_SCHEDULERS,
    "inspector": _OF_INSPECTORS,
    "worker": {"enqueue"} | _ALL.keys() - _OF_CLIENTS - _OF_SCHEDULERS - _OF_INSPECTORS,
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("role", ROLES)
async def test_a_user_with_the_documented_rights_can_do_all_that_its_program_does(
    role: str, server: RedisServer
) -> None:
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", role, "on", ">pw", *" ".join(rights(role)).split())
        await ROLES[role](RedisSettings(url=server.url, username=role, password="pw"), admin)
        refused = [(entry["reason"], entry["object"]) for entry in admin.acl_log()]
    # redis-py tells its name and version, and does without when it may not
    assert [entry for entry in refused if entry != ("command", "client|setinfo")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_command_of_its_scripts_is_among_the_documented_rights(role: str) -> None:
    called = {name.decode().lower() for each in _SCRIPTS[role] for name in _CALLED.findall(_ALL[each].body)}
    missing = {f"+{name}" for name in called} - set(" ".join(rights(role)).split())
    assert missing == set(), "add these to the table in docs/redis.md"


async def test_a_missing_right_is_named_with_the_command_and_its_keys(server: RedisServer) -> None:
    with redis.Redis(port=server.port) as admin:
        for rule, problem in (
            ("-evalsha", r"script enqueue \(EVALSHA, EVAL\) with the keys asynq:\{default\}:"),
            ("-lpush", r"script enqueue \(EVALSHA, EVAL\) with the keys asynq:\{default\}:"),
            ("-sadd", r"'sadd' command.*SADD asynq:queues"),
            ("resetkeys", r"SADD asynq:queues"),
        ):
            admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", "~*", "&*", "+@all", *rule.split())
            async with Client(RedisSettings(url=server.url, username="app", password="pw"), retry_for=0) as client:
                with pytest.raises(BrokerUnavailable, match=problem):
                    await client.enqueue("work")
