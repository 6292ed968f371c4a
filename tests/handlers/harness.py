"""What the tests of the handlers work with: a plain client of the API server, and the operator as a process."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from handlers.waiting import eventually
from localcluster.access import Access
from longshore_operator.cluster.answers import decode
from longshore_operator.cluster.resources import (
    BROKERS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    EVENTS,
    LEASES,
    PERIODIC_TASKS,
    PODS,
    QUEUES,
    SECRETS,
    WORKER_POOLS,
    Resource,
)
from longshore_operator.rbac import LEASE_RULES, RULES, Rule

REPOSITORY = Path(__file__).resolve().parents[2]
Manifest = dict[str, Any]

KINDS = {
    each.kind: each
    for each in (
        BROKERS,
        QUEUES,
        WORKER_POOLS,
        PERIODIC_TASKS,
        DEPLOYMENTS,
        DISRUPTION_BUDGETS,
        PODS,
        SECRETS,
        EVENTS,
        LEASES,
    )
}
KINDS |= {
    kind: Resource(group=group, version="v1", kind=kind, plural=plural)
    for group, kind, plural in (
        ("", "ServiceAccount", "serviceaccounts"),
        ("", "ResourceQuota", "resourcequotas"),
        ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        ("rbac.authorization.k8s.io", "Role", "roles"),
        ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings"),
        ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
    )
}


class Refused(Exception):
    """The API server said no."""


class Namespace:
    """One namespace of a cluster, as a person with all rights sees it."""

    def __init__(self, access: Access, name: str) -> None:
        config = yaml.safe_load(access.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.access = access
        self.name = name
        self.server: str = cluster["server"]
        self.ca_data: str = cluster["certificate-authority-data"]
        self._token = user["token"]
        self._ssl = ssl.create_default_context(cadata=base64.b64decode(self.ca_data).decode())

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Manifest | None:
        """One request; None for 404."""
        request = urllib.request.Request(
            self.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, context=self._ssl, timeout=30) as response:
                answer: Manifest = decode(response.read())
                return answer
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise Refused(json.loads(error.read()).get("message")) from error

    def send(self, path: str, text: str) -> None:
        """POST of a text as it is; of the answer, only whether it is a refusal is read."""
        request = urllib.request.Request(
            self.server + path,
            method="POST",
            data=text.encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, context=self._ssl, timeout=30).close()
        except urllib.error.HTTPError as error:
            raise Refused(json.loads(error.read()).get("message")) from error

    def apply(self, manifest: Mapping[str, Any], *, manager: str = "person") -> Manifest:
        """Server-side apply of one manifest, or of the YAML text of one."""
        resource = KINDS[manifest["kind"]]
        namespace = None if resource.kind.startswith("Cluster") else self.name
        path = resource.path(namespace, manifest["metadata"]["name"])
        whole = {"apiVersion": resource.api_version, **manifest}
        applied = self.request(
            "PATCH", f"{path}?fieldManager={manager}&force=true", whole, "application/apply-patch+yaml"
        )
        assert applied is not None
        return applied

    def get(self, kind: str, name: str) -> Manifest | None:
        """The object, or None."""
        return self.request("GET", KINDS[kind].path(self.name, name))

    def list(self, kind: str) -> list[Manifest]:
        """Every object of the kind."""
        found = self.request("GET", KINDS[kind].path(self.name))
        return found["items"] if found else []

    def patch(
        self, kind: str, name: str, patch: Any, *, subresource: str | None = None, manager: str = "edit"
    ) -> Manifest:
        """JSON merge patch."""
        path = KINDS[kind].path(self.name, name, subresource)
        patched = self.request("PATCH", f"{path}?fieldManager={manager}", patch, "application/merge-patch+json")
        assert patched is not None
        return patched

    def delete(self, kind: str, name: str) -> None:
        """Ask for its deletion."""
        self.request("DELETE", KINDS[kind].path(self.name, name))

    # -- what the tests look for -------------------------------------------------------------------------------------

    def condition(self, kind: str, name: str, condition: str = "Ready") -> tuple[str, str] | None:
        """A condition's status and reason."""
        manifest = self.get(kind, name) or {}
        for each in manifest.get("status", {}).get("conditions", ()):
            if each["type"] == condition:
                return each["status"], each["reason"]
        return None

    def message(self, kind: str, name: str, condition: str = "Ready") -> str:
        """A condition's message."""
        manifest = self.get(kind, name) or {}
        conditions = manifest.get("status", {}).get("conditions", ())
        return next((each["message"] for each in conditions if each["type"] == condition), "")

    def replicas(self, deployment: str) -> int | None:
        """The count that a Deployment asks for; None when there is none of that name."""
        manifest = self.get("Deployment", deployment)
        return None if manifest is None else manifest["spec"]["replicas"]

    def events(self, name: str, reason: str | None = None) -> list[Manifest]:
        """Events about an object of ours, of one reason or of all."""
        return [
            each
            for each in self.list("Event")
            if each["involvedObject"]["name"] == name and reason in (None, each["reason"])
        ]


class Metrics:
    """An answer to Prometheus."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.series = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, *labels: str) -> float | None:
        """The value of a series, by its name and the values of its labels in any order; None when it is not there."""
        return self.series.get((name, *sorted(labels)))


# A start is two seconds of computing, to import what it needs; where ten others compute, that is a long time.
START_S = 120.0


class OperatorProcess:
    """``python -m longshore_operator`` for one namespace, as a service account with exactly the rights of rbac.py."""

    def __init__(
        self,
        namespace: Namespace,
        folder: Path,
        *,
        identity: str = "operator-0",
        server: str | None = None,
        **variables: str,
    ) -> None:
        """``server``: URL of a proxy to reach the API server by."""
        self.namespace = namespace
        self.server = server or namespace.server
        self.identity = identity
        self._folder = folder / identity
        self._folder.mkdir(parents=True, exist_ok=True)
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.metrics_port = _free_port()

    @property
    def log(self) -> str:
        """What it has logged, over all its lives."""
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; does not wait for anything."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LONGSHORE", "KUBE"))},
            "KUBECONFIG": str(self._kubeconfig()),
            "LONGSHORE_OPERATOR_NAMESPACE": self.namespace.name,
            "LONGSHORE_WATCH_NAMESPACE": self.namespace.name,
            "LONGSHORE_IMAGE": "longshore:test",
            "LONGSHORE_IDENTITY": self.identity,
            "LONGSHORE_HEALTH_ADDRESS": f"127.0.0.1:{self.port}",
            "LONGSHORE_METRICS_ADDRESS": f"127.0.0.1:{self.metrics_port}",
            "PYTHONPATH": f"{REPOSITORY}/worker:{REPOSITORY}/operator",
            **self._variables,
        }
        libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

        def die_with_parent() -> None:
            libc.prctl(1, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "longshore_operator"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def probe(self, path: str = "/readyz") -> tuple[int, str]:
        """A probe's status and text; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metrics(self) -> Metrics:
        """What it tells Prometheus now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as response:
            return Metrics(response.read().decode())

    def wait_leading(self) -> None:
        """Wait until it leads and is ready."""
        eventually(lambda: "leading" in self.log and self.probe()[0], 200, within_s=START_S)

    def wait_standing_by(self) -> None:
        """Wait until it has found that another one leads."""
        eventually(lambda: "standing by" in self.log, True, within_s=START_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> int | None:
        """End it with SIGTERM, and with SIGKILL if that does not help; its exit code, None if it did not run."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def kill(self) -> None:
        """End it with SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _kubeconfig(self) -> Path:
        """A kubeconfig of a service account that has exactly the rights the code says it needs."""
        path = self._folder / "kubeconfig"
        if path.exists():
            return path
        served = self._variables.get("LONGSHORE_WATCH_NAMESPACE", self.namespace.name)
        grant(self.namespace, [each.strip() for each in served.split(",")] if served else ())
        token = self.namespace.request(
            "POST",
            KINDS["ServiceAccount"].path(self.namespace.name, "operator", "token"),
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}},
        )
        assert token is not None
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": self.server,
                        "certificate-authority-data": self.namespace.ca_data,
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": token["status"]["token"]}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(config))
        return path


def grant(home: Namespace, served: Sequence[str]) -> None:
    """Make the operator's service account, with the rights that rbac.py lists and no other; none served: all are."""
    home.apply({"kind": "ServiceAccount", "metadata": {"name": "operator"}})
    _bind(home, home.name, "Role", "leader", LEASE_RULES)
    for name in served:
        _bind(Namespace(home.access, name), home.name, "Role", "operator", RULES)
    if not served:
        _bind(home, home.name, "ClusterRole", "operator", RULES)


def _bind(namespace: Namespace, home: str, kind: str, name: str, rules: tuple[Rule, ...]) -> None:
    namespace.apply({"kind": kind, "metadata": {"name": name}, "rules": [rule.manifest() for rule in rules]})
    namespace.apply(
        {
            "kind": f"{kind}Binding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": home, "name": "operator"}],
        }
    )


@contextmanager
def running_operator(namespace: Namespace, folder: Path, **options: str) -> Iterator[OperatorProcess]:
    """An operator that leads, for the length of a block."""
    process = OperatorProcess(namespace, folder, **options)
    process.start()
    try:
        process.wait_leading()
        yield process
    finally:
        process.stop()
        print(f"--- log of {process.identity}:\n{process.log}", file=sys.stderr)


def broker(url: str, name: str = "default", **spec: Any) -> Manifest:
    """A Broker whose scheduler is the default."""
    return {"kind": "Broker", "metadata": {"name": name}, "spec": {"url": url, **spec}}


def queue(name: str, **spec: Any) -> Manifest:
    """A Queue of the default Broker."""
    return {"kind": "Queue", "metadata": {"name": name}, "spec": spec}


def pool(name: str, *queues: str, **spec: Any) -> Manifest:
    """A WorkerPool of the default Broker."""
    return {
        "kind": "WorkerPool",
        "metadata": {"name": name},
        "spec": {"queues": [{"name": each} for each in queues], "image": "shop:1", "app": "shop:app", **spec},
    }


def periodic_task(name: str, schedule: str, **spec: Any) -> Manifest:
    """A PeriodicTask of the default Broker."""
    return {
        "kind": "PeriodicTask",
        "metadata": {"name": name},
        "spec": {"schedule": schedule, "task": {"type": "report:daily"}, **spec},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
