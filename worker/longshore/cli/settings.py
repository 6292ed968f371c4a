"""Every setting of the long-running commands: its flag, its environment variable, its default. One table.

Help texts, documentation and tests read it; a flag wins over the environment, the environment over the default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from longshore.cli.values import Address, Duration, ProcessCount, QueuePriorities
from longshore.errors import InvalidOption
from longshore.policy.grouping import DEFAULT_GRACE_PERIOD, LARGEST_SET
from longshore.policy.queues import checked_queues
from longshore.policy.server_options import MOST_CONCURRENT
from longshore.scheduler import DEFAULT_SYNC_INTERVAL
from longshore.server import DEFAULT_CONCURRENCY, DEFAULT_QUEUES, DEFAULT_SHUTDOWN_TIMEOUT

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One row."""

    name: str  # the command's parameter
    flag: str
    env: str | None  # None: a secret may not be seen in a process list, so some have no flag; others need no variable
    type: Any
    default: Any = None
    repeated: bool = False  # the flag may be given several times
    help: str


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            name="redis",
            flag="--redis",
            env="LONGSHORE_REDIS_URL",
            type=str,
            default="redis://127.0.0.1:6379/0",
            help="URL of Redis: redis://host, unix://path, redis-sentinel://host1,host2/0?master=name or "
            "redis-cluster://host1,host2; with TLS rediss://, rediss-sentinel:// or rediss-cluster://.",
        ),
        Setting(
            name="redis_username",
            flag="--redis-username",
            env="LONGSHORE_REDIS_USERNAME",
            type=str,
            help="User name; wins over the URL's.",
        ),
        Setting(
            name="redis_password",
            flag="--redis-password",
            env="LONGSHORE_REDIS_PASSWORD",
            type=str,
            help="Password; wins over the URL's. The variable keeps it out of the process list.",
        ),
        Setting(
            name="redis_sentinel_username",
            flag="--redis-sentinel-username",
            env="LONGSHORE_REDIS_SENTINEL_USERNAME",
            type=str,
            help="User name for the sentinels; wins over the URL's.",
        ),
        Setting(
            name="redis_sentinel_password",
            flag="--redis-sentinel-password",
            env="LONGSHORE_REDIS_SENTINEL_PASSWORD",
            type=str,
            help="Password for the sentinels; wins over the URL's.",
        ),
        Setting(
            name="redis_tls_ca_file",
            flag="--redis-tls-ca-file",
            env="LONGSHORE_REDIS_TLS_CA_FILE",
            type=str,
            help="PEM file of the authorities to trust with a rediss:// URL. Default: the system's.",
        ),
        Setting(
            name="redis_tls_cert_file",
            flag="--redis-tls-cert-file",
            env="LONGSHORE_REDIS_TLS_CERT_FILE",
            type=str,
            help="PEM file of the certificate to show to Redis.",
        ),
        Setting(
            name="redis_tls_key_file",
            flag="--redis-tls-key-file",
            env="LONGSHORE_REDIS_TLS_KEY_FILE",
            type=str,
            help="PEM file of that certificate's key. Default: the certificate's file.",
        ),
        Setting(
            name="redis_tls_server_name",
            flag="--redis-tls-server-name",
            env="LONGSHORE_REDIS_TLS_SERVER_NAME",
            type=str,
            help="Name that Redis' certificate must be for. Default: the host as it is connected to.",
        ),
        Setting(
            name="redis_tls_insecure_skip_verify",
            flag="--redis-tls-insecure-skip-verify/--no-redis-tls-insecure-skip-verify",
            env="LONGSHORE_REDIS_TLS_INSECURE_SKIP_VERIFY",
            type=bool,
            default=False,
            help="Take any certificate of Redis': whoever is between can read and change everything.",
        ),
        Setting(
            name="redis_timeout",
            flag="--redis-timeout",
            env="LONGSHORE_REDIS_TIMEOUT",
            type=Duration(),
            default="5s",
            help="Longest wait for an answer of Redis.",
        ),
        Setting(
            name="redis_wait",
            flag="--redis-wait",
            env="LONGSHORE_REDIS_WAIT",
            type=Duration(),
            default="0s",
            help="How long to wait at start for a Redis that cannot be reached. 0 gives up at once.",
        ),
        Setting(
            name="queues",
            flag="--queue",
            env="LONGSHORE_QUEUES",
            type=QueuePriorities(),
            default=None,
            repeated=True,
            help="Queues to serve with their priorities: critical=6,default=3. May be repeated. Default: default=1.",
        ),
        Setting(
            name="strict_priority",
            flag="--strict-priority/--no-strict-priority",
            env="LONGSHORE_STRICT_PRIORITY",
            type=bool,
            default=False,
            help="Serve a queue only while those of higher priority are empty.",
        ),
        Setting(
            name="concurrency",
            flag="--concurrency",
            env="LONGSHORE_CONCURRENCY",
            type=click.IntRange(1, MOST_CONCURRENT),
            default=DEFAULT_CONCURRENCY,
            help="Tasks to run at once.",
        ),
        Setting(
            name="processes",
            flag="--processes",
            env="LONGSHORE_PROCESSES",
            type=ProcessCount(),
            default="1",
            help="Worker processes, each a server of its own with the whole concurrency. auto: one a CPU.",
        ),
        Setting(
            name="process_pool_size",
            flag="--process-pool-size",
            env="LONGSHORE_PROCESS_POOL_SIZE",
            type=click.IntRange(1, 1024),
            help="Processes for handlers declared with process=True, at most. Default: one a CPU.",
        ),
        Setting(
            name="scheduler",
            flag="--scheduler/--no-scheduler",
            env="LONGSHORE_SCHEDULER",
            type=bool,
            default=False,
            help="Run the application's periodic tasks, too. Of any number of schedulers one is active.",
        ),
        Setting(
            name="sync_interval",
            flag="--sync-interval",
            env="LONGSHORE_SYNC_INTERVAL",
            type=Duration(),
            default=f"{DEFAULT_SYNC_INTERVAL.total_seconds():g}s",
            help="How often the application's provider of periodic tasks is asked.",
        ),
        Setting(
            name="shutdown_timeout",
            flag="--shutdown-timeout",
            env="LONGSHORE_SHUTDOWN_TIMEOUT",
            type=Duration(),
            default=f"{DEFAULT_SHUTDOWN_TIMEOUT.total_seconds():g}s",
            help="How long running tasks may go on after SIGTERM, before they are put back.",
        ),
        Setting(
            name="group_grace_period",
            flag="--group-grace-period",
            env="LONGSHORE_GROUP_GRACE_PERIOD",
            type=Duration(),
            default=f"{DEFAULT_GRACE_PERIOD.total_seconds():g}s",
            help="Aggregate a group when no task joined it for so long; at least 1s.",
        ),
        Setting(
            name="group_max_delay",
            flag="--group-max-delay",
            env="LONGSHORE_GROUP_MAX_DELAY",
            type=Duration(),
            default="0s",
            help="Aggregate a group when a task has waited in it for so long. 0: however long it takes.",
        ),
        Setting(
            name="group_max_size",
            flag="--group-max-size",
            env="LONGSHORE_GROUP_MAX_SIZE",
            type=click.IntRange(0, LARGEST_SET),
            default=0,
            help=f"Aggregate a group when so many tasks wait in it. 0: only when there are {LARGEST_SET:,}.",
        ),
        Setting(
            name="health_address",
            flag="--health-address",
            env="LONGSHORE_HEALTH_ADDRESS",
            type=Address(),
            help="Serve probes and a worker's /metrics at host:port, or :8081 for every interface. Default: no.",
        ),
        Setting(
            name="log_level",
            flag="--log-level",
            env="LONGSHORE_LOG_LEVEL",
            type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
            default="info",
            help="The least important lines to log.",
        ),
        Setting(
            name="log_format",
            flag="--log-format",
            env="LONGSHORE_LOG_FORMAT",
            type=click.Choice(["text", "json"], case_sensitive=False),
            default="text",
            help="How a line of the log is written.",
        ),
    )
}

LOG_SETTINGS = ("log_level", "log_format")


def with_settings(*names: str) -> Callable[[F], F]:
    """Give a command these settings as options, shown in this order."""

    def decorate(command: F) -> F:
        for name in reversed(names):
            setting = SETTINGS[name]
            command = click.option(
                setting.flag,
                setting.name,
                envvar=setting.env,
                type=setting.type,
                default=setting.default,
                multiple=setting.repeated,
                show_default=setting.default is not None,
                show_envvar=True,
                help=setting.help,
            )(command)
        return command

    return decorate


def merged_queues(given: tuple[dict[str, int], ...]) -> dict[str, int]:
    """The queues of all ``--queue`` flags together. Raises InvalidOption for one that is given twice or unusable."""
    queues: dict[str, int] = {}
    for some in given:
        for queue, priority in some.items():
            if queue in queues:
                raise InvalidOption("--queue", f"queue {queue!r} is given twice")
            queues[queue] = priority
    return checked_queues(queues) if queues else dict(DEFAULT_QUEUES)
