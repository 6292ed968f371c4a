"""What the operator's measurements share: a control plane without nodes, a Redis, many objects, and operators."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue as queues
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from processes import processor_time_s, resident_bytes
from round_trips import RoundTrips

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "dev"), str(REPOSITORY / "tests")]

from handlers.harness import (  # noqa: E402 - the path comes first
    KINDS,
    Manifest,
    Namespace,
    OperatorProcess,
    broker,
    periodic_task,
    pool,
    queue,
)
from localcluster import instances  # noqa: E402
from longshore.testing import RedisServer  # noqa: E402

_WRITERS = 8
# Comes once a year: a tick during a measurement would be news, and no idle operator.
_SELDOM = "0 0 29 2 *"


@dataclass(kw_only=True)
class Scene:
    """So many pools, each with a queue of its own, and periodic tasks; all of one Broker."""

    namespace: Namespace
    redis_url: str  # past the proxy: for producers
    trips: RoundTrips  # what the operators' Broker goes through
    audit_log: Path
    folder: Path
    pools: int
    periodic_tasks: int
    operators: dict[str, OperatorProcess] = field(default_factory=dict)  # by identity

    def operator(self, number: int = 0) -> OperatorProcess:
        """One of the operators; not started unless it was before."""
        identity = f"operator-{number}"
        if identity not in self.operators:
            self.operators[identity] = OperatorProcess(self.namespace, self.folder, identity=identity)
        return self.operators[identity]

    def manifests(self) -> list[Manifest]:
        """Every object of the scene but the Broker."""
        autoscaling = {"maxReplicas": 30, "scaleDown": {"stabilization": "1s"}, "zeroAfter": "1s"}
        return [
            *(queue(f"q-{number}") for number in range(self.pools)),
            *(pool(f"p-{number}", f"q-{number}", autoscaling=autoscaling) for number in range(self.pools)),
            *(periodic_task(f"t-{number}", _SELDOM) for number in range(self.periodic_tasks)),
        ]

    def create(self, manifests: Sequence[Manifest]) -> None:
        """Create objects, several at a time."""
        local = threading.local()
        server = urlsplit(self.namespace.server)

        def create_one(manifest: Manifest) -> None:
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPSConnection(server.netloc, context=self.namespace._ssl, timeout=60)
            resource = KINDS[manifest["kind"]]
            local.connection.request(
                "POST",
                resource.path(self.namespace.name),
                json.dumps({"apiVersion": resource.api_version, **manifest}),
                {"Authorization": f"Bearer {self.namespace._token}", "Content-Type": "application/json"},
            )
            answer = local.connection.getresponse()
            text = answer.read()
            if answer.status != 201:
                raise RuntimeError(f"{manifest['kind']} {manifest['metadata']['name']}: {text.decode()}")

        with ThreadPoolExecutor(_WRITERS) as writers:
            for _ in writers.map(create_one, manifests):
                pass

    def writes(self, begin: int) -> Counter[str]:
        """The operator's writing requests in the audit log from that byte on, by verb and resource."""
        account = f"system:serviceaccount:{self.namespace.name}:operator"
        found: Counter[str] = Counter()
        with self.audit_log.open("rb") as log:
            log.seek(begin)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # being written
                entry = json.loads(line)
                if entry["user"]["username"] == account and entry["verb"] not in ("get", "list", "watch"):
                    target = entry["objectRef"]
                    found["/".join(filter(None, (entry["verb"], target["resource"], target.get("subresource"))))] += 1
        return found

    def turned_away(self) -> int:
        """Requests of whomever that the API server has answered with 429 since it runs."""
        request = urllib.request.Request(
            f"{self.namespace.server}/metrics", headers={"Authorization": f"Bearer {self.namespace._token}"}
        )
        with urllib.request.urlopen(request, context=self.namespace._ssl, timeout=60) as response:
            text = response.read().decode()
        counts = re.findall(r'^apiserver_request_total\{[^}]*code="429"[^}]*\} (\S+)$', text, re.MULTILINE)
        return round(sum(float(count) for count in counts))


class Watch:
    """Hears of every state of some objects of a kind, in a thread of its own, from those they are in now on."""

    def __init__(self, namespace: Namespace, kind: str, *, name: str | None = None) -> None:
        """``name``: of one object; else all of the namespace's."""
        self.heard: queues.Queue[tuple[float, Manifest]] = queues.Queue()  # at what time.monotonic(), the object
        query = "watch=true&timeoutSeconds=3600" + (f"&fieldSelector=metadata.name%3D{name}" if name else "")
        self._path = f"{KINDS[kind].path(namespace.name)}?{query}"
        self._namespace = namespace
        self._closed = False
        self._open()
        threading.Thread(target=self._listen, daemon=True).start()

    def _open(self) -> None:
        connection = http.client.HTTPSConnection(
            urlsplit(self._namespace.server).netloc, context=self._namespace._ssl, timeout=3600
        )
        connection.request("GET", self._path, headers={"Authorization": f"Bearer {self._namespace._token}"})
        self._socket = connection.sock
        self._response = connection.getresponse()

    def _listen(self) -> None:
        while not self._closed:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                for line in self._response:
                    event = json.loads(line)
                    if event["type"] != "ERROR":
                        self.heard.put((time.monotonic(), event["object"]))
            if self._closed:
                return
            # The API server drops those who listen too slowly. A new watch begins with how things are.
            time.sleep(0.1)
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._open()

    def until(self, holds: Callable[[Manifest], bool], *, count: int, within_s: float) -> float:
        """When the last of so many different objects was first heard to be as wanted."""
        missing, at = count, 0.0
        done: set[str] = set()
        give_up_at = time.monotonic() + within_s
        while missing:
            try:
                at, manifest = self.heard.get(timeout=max(give_up_at - time.monotonic(), 0.001))
            except queues.Empty:
                raise RuntimeError(f"{missing} of {count} objects are not as wanted within {within_s:g} s") from None
            name = manifest["metadata"]["name"]
            if name not in done and holds(manifest):
                done.add(name)
                missing -= 1
        return at

    def forget(self) -> None:
        """Drop what was heard until now."""
        with contextlib.suppress(queues.Empty):
            while True:
                self.heard.get_nowait()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        # The response itself cannot be closed while the thread reads it: it would wait for the next line.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def ready(manifest: Manifest) -> bool:
    """Whether an object of ours says so of its latest spec."""
    status = manifest.get("status", {})
    return status.get("observedGeneration") == manifest["metadata"]["generation"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ())
    )


def rolled_out(manifest: Manifest) -> bool:
    """Whether the controller of Deployments has done all there is to do for a pool."""
    conditions = manifest.get("status", {}).get("conditions", ())
    return any(each["type"] == "Progressing" and each["status"] == "False" for each in conditions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a process has used until a moment."""

    at: float  # time.monotonic()
    processor_s: float
    resident_mb: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """As the system counts it."""
        return cls(at=time.monotonic(), processor_s=processor_time_s(pid), resident_mb=resident_bytes(pid) / 1_000_000)

    def share_since(self, earlier: Usage) -> float:
        """Of one processor, between two moments."""
        return (self.processor_s - earlier.processor_s) / (self.at - earlier.at)


@contextlib.contextmanager
def scene(*, pools: int, periodic_tasks: int) -> Iterator[Scene]:
    """Bring everything up but the operator, and all of it down at the end."""
    with (
        instances.control_plane_instance() as access,
        RedisServer() as redis,
        RoundTrips(urlsplit(redis.url).port or 6379) as trips,
        tempfile.TemporaryDirectory() as folder,
    ):
        access.kubectl("apply", "--server-side", "--filename", REPOSITORY / "crds")
        access.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", REPOSITORY / "crds")
        with access.namespace("bench") as name:
            made = Scene(
                namespace=Namespace(access, name),
                redis_url=redis.url,
                trips=trips,
                audit_log=access.audit_log,
                folder=Path(folder),
                pools=pools,
                periodic_tasks=periodic_tasks,
            )
            made.namespace.apply(broker(trips.url))
            made.create(made.manifests())
            with _scheduler(redis.url, f"{name}/default"):
                try:
                    yield made
                finally:
                    for operator in made.operators.values():
                        operator.stop()


@contextlib.contextmanager
def _scheduler(url: str, scope: str) -> Iterator[None]:
    """There is no node to run the Broker's scheduler, so it runs here."""
    process = subprocess.Popen(
        [sys.executable, "-m", "longshore", "scheduler", "--scope", scope, "--redis", url, "--log-level", "error"],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
