"""What a worker and a scheduler are started with. Knows no Kubernetes object: they can start a local process, too.

Everything reaches a process by environment (each variable is also a flag of `longshore worker` or `scheduler`);
certificates and keys lie in files that the environment names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from longshore_operator.api.broker import CERTIFICATE_KEY, PRIVATE_KEY, Broker, Tls
from longshore_operator.api.durations import format_duration
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.address import redis_url

HEALTH_PORT = 8081

# How long a process that starts while Redis is away waits for it. One that gave up at once would be restarted ever more
# seldom, and come back minutes after Redis does.
REDIS_WAIT = timedelta(minutes=10)

_AUTHORITIES_FOLDER = "/var/run/secrets/longshore.dev/redis-ca"
_AUTHORITIES_FILE = "ca.crt"
_CLIENT_FOLDER = "/var/run/secrets/longshore.dev/redis-client"


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretValue:
    """A value that must be fetched where the process runs; it is never written down in clear."""

    secret: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretFiles:
    """Values that must lie in files where the process runs, readable for it alone if possible."""

    name: str  # of the folder, unique in a process
    folder: str
    secret: str
    files: Mapping[str, str]  # a key of the Secret to the name of its file


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """How to start one worker or scheduler."""

    command: tuple[str, ...] | None  # None: the image's own command runs
    environment: Mapping[str, str | SecretValue]
    drain: timedelta  # how long it may take to stop
    serves_health: bool  # GET /livez and /readyz on HEALTH_PORT
    files: tuple[SecretFiles, ...] = ()


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
        files=_files(broker),
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
        files=_files(broker),
    )


def _redis(broker: Broker) -> dict[str, str | SecretValue]:
    spec = broker.spec
    environment: dict[str, str | SecretValue] = {"LONGSHORE_REDIS_URL": redis_url(broker)}
    for prefix, login in (("LONGSHORE_REDIS", spec.auth), ("LONGSHORE_REDIS_SENTINEL", spec.sentinel)):
        if login is not None and login.username is not None:
            environment[f"{prefix}_USERNAME"] = login.username
        if login is not None and login.password_secret_ref is not None:
            reference = login.password_secret_ref
            environment[f"{prefix}_PASSWORD"] = SecretValue(secret=reference.name, key=reference.key)
    if spec.tls is not None:
        environment |= _tls(spec.tls)
    environment["LONGSHORE_REDIS_TIMEOUT"] = format_duration(spec.timeout)
    environment["LONGSHORE_REDIS_WAIT"] = format_duration(REDIS_WAIT)
    return environment


def _tls(tls: Tls) -> dict[str, str]:
    environment = {}
    if tls.ca_secret_ref is not None:
        environment["LONGSHORE_REDIS_TLS_CA_FILE"] = f"{_AUTHORITIES_FOLDER}/{_AUTHORITIES_FILE}"
    if tls.client_cert_secret_ref is not None:
        environment["LONGSHORE_REDIS_TLS_CERT_FILE"] = f"{_CLIENT_FOLDER}/{CERTIFICATE_KEY}"
        environment["LONGSHORE_REDIS_TLS_KEY_FILE"] = f"{_CLIENT_FOLDER}/{PRIVATE_KEY}"
    if tls.server_name is not None:
        environment["LONGSHORE_REDIS_TLS_SERVER_NAME"] = tls.server_name
    if tls.insecure_skip_verify:
        environment["LONGSHORE_REDIS_TLS_INSECURE_SKIP_VERIFY"] = "true"
    return environment


def _files(broker: Broker) -> tuple[SecretFiles, ...]:
    tls = broker.spec.tls
    files = []
    if tls is not None and tls.ca_secret_ref is not None:
        reference = tls.ca_secret_ref
        files.append(
            SecretFiles(
                name="redis-ca",
                folder=_AUTHORITIES_FOLDER,
                secret=reference.name,
                files={reference.key: _AUTHORITIES_FILE},
            )
        )
    if tls is not None and tls.client_cert_secret_ref is not None:
        files.append(
            SecretFiles(
                name="redis-client",
                folder=_CLIENT_FOLDER,
                secret=tls.client_cert_secret_ref.name,
                files={key: key for key in (CERTIFICATE_KEY, PRIVATE_KEY)},
            )
        )
    return tuple(files)
