"""What a worker and a scheduler are started with. Knows no Kubernetes object: they can start a local process, too.

Everything reaches a process by environment (each variable is also a flag of `longshore worker` or `scheduler`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from longshore_operator.api.broker import Broker
from longshore_operator.api.durations import format_duration
from longshore_operator.api.worker_pool import WorkerPool

HEALTH_PORT = 8081

# How long a process that starts while Redis is away waits for it. One that gave up at once would be restarted ever more
# seldom, and come back minutes after Redis does.
REDIS_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretValue:
    """A value that must be fetched where the process runs; it is never written down in clear."""

    secret: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """How to start one worker or scheduler."""

    command: tuple[str, ...] | None  # None: the image's own command runs
    environment: Mapping[str, str | SecretValue]
    drain: timedelta  # how long it may take to stop
    serves_health: bool  # GET /livez and /readyz on HEALTH_PORT


def worker_process(pool: WorkerPool, broker: Broker) -> Process:
    """One worker of a pool. Without an app nobody knows whether it serves health, but it gets the same environment."""
    spec = pool.spec
    environment: dict[str, str | SecretValue] = {
        **_redis(broker),
        "LONGSHORE_QUEUES": ",".join(f"{queue.name}={queue.weight}" for queue in spec.queues),
        "LONGSHORE_STRICT_PRIORITY": "true" if spec.strict_priority else "false",
        "LONGSHORE_CONCURRENCY": str(spec.concurrency),
        "LONGSHORE_SHUTDOWN_TIMEOUT": f"{spec.drain_seconds}s",
        "LONGSHORE_HEALTH_ADDRESS": f":{HEALTH_PORT}",
    }
    if spec.app is not None:
        environment["LONGSHORE_APP"] = spec.app
    return Process(
        command=None if spec.app is None else ("longshore", "worker", spec.app),
        environment=environment,
        drain=timedelta(seconds=spec.drain_seconds),
        serves_health=spec.app is not None,
    )


def scheduler_process(broker: Broker) -> Process:
    """A scheduler of a Broker. It stops at once: it only gives up its lease."""
    return Process(
        command=("longshore", "scheduler"),
        environment={
            **_redis(broker),
            "LONGSHORE_PERIODIC_SCOPE": broker.scope,
            "LONGSHORE_HEALTH_ADDRESS": f":{HEALTH_PORT}",
        },
        drain=timedelta(seconds=10),
        serves_health=True,
    )


def _redis(broker: Broker) -> dict[str, str | SecretValue]:
    environment: dict[str, str | SecretValue] = {"LONGSHORE_REDIS_URL": broker.spec.url}
    auth = broker.spec.auth
    if auth is not None and auth.username is not None:
        environment["LONGSHORE_REDIS_USERNAME"] = auth.username
    if auth is not None and auth.password_secret_ref is not None:
        reference = auth.password_secret_ref
        environment["LONGSHORE_REDIS_PASSWORD"] = SecretValue(secret=reference.name, key=reference.key)
    environment["LONGSHORE_REDIS_TIMEOUT"] = format_duration(broker.spec.timeout)
    environment["LONGSHORE_REDIS_WAIT"] = format_duration(REDIS_WAIT)
    return environment
