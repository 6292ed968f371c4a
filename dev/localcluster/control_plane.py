"""A control plane: etcd, kube-apiserver and kube-controller-manager, ready in seconds.

It is the real API server with RBAC, validation, garbage collection and Deployments that make ReplicaSets and Pods;
there is just no machine that runs the Pods. Each instance lies in one folder and shares nothing with another.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from localcluster import certificates, kubeconfig, network
from localcluster.certificates import Certificates
from localcluster.errors import ClusterError
from localcluster.kubeconfig import User
from localcluster.processes import ProcessFolder

# Seconds until a component must answer. Generous: two cores may be compiling at the same time.
_ANSWERS_WITHIN_S = 180
_IN_CLUSTER = ".default.svc.cluster.local"
# Ports are chosen before they are taken, so another program can come first; then everything starts over.
_ATTEMPTS = 3

# Every request that writes, and what service accounts read, the controllers' own aside; without bodies. Enough to count
# writes, to say whose they are, and to see which rights a program in a pod needs.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"], "verbs": ["get", "list", "watch"]},
        {"level": "None"},
    ],
}


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Where an API server listens, and what for."""

    address: str  # its IP address
    services: IPv4Network  # cluster addresses of Services
    for_pods: bool  # pods reach it through the `kubernetes` Service; impossible on a loopback address


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A control plane that answers."""

    folder: Path  # its keys, data, logs and pids
    server: str  # URL
    admin: Path  # kubeconfig of a member of system:masters
    audit_log: Path  # one JSON object a line for every request that wrote, or that a service account made
    authority: Path  # certificate to trust
    users: dict[str, User]  # by name, the components' own users among them


# The components' users, with the names and groups that upstream's RBAC knows.
ADMIN = "admin"
CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
PROXY = "system:kube-proxy"
DNS = "longshore:dns"


def loopback() -> Reach:
    """Give the reach of a control plane without a node."""
    return Reach(address=network.LOOPBACK, services=network.control_plane_services(), for_pods=False)


def start(folder: Path, binaries: Path, reach: Reach, *, tied: bool, node: str | None = None) -> ControlPlane:
    """Start a control plane in an empty folder and return once it answers and its controllers work.

    `tied` ends it with this process. `node` names a node that may join. Raises ClusterError with the end of the log
    of whatever did not start; nothing is left running then.
    """
    processes = ProcessFolder(folder)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _start(folder, binaries, reach, processes, tied=tied, node=node)
        except _PortTaken as error:
            processes.stop_all(grace_s=0)
            if attempt == _ATTEMPTS:
                raise ClusterError(str(error)) from error
        except BaseException:
            processes.stop_all(grace_s=0)
            raise
    raise AssertionError("unreachable: the last attempt returns or raises")


class _PortTaken(Exception):
    pass


def _start(
    folder: Path, binaries: Path, reach: Reach, processes: ProcessFolder, *, tied: bool, node: str | None
) -> ControlPlane:
    first_service = str(reach.services[1])
    keys = certificates.make(
        folder / "keys",
        addresses=sorted({reach.address, network.LOOPBACK, first_service}),
        names=["localhost", *(f"kubernetes{rest}" for rest in ("", ".default", ".default.svc", _IN_CLUSTER))],
    )
    users = _users(node)
    kubeconfig.write_token_file(folder / "keys" / "tokens.csv", list(users.values()))
    (folder / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))
    port, store, peers = network.free_port(reach.address), network.free_port(), network.free_port()
    server = f"https://{reach.address}:{port}"
    configs = folder / "kubeconfigs"
    admin = kubeconfig.write(configs / "admin", server=server, authority=keys.authority, user=users[ADMIN])
    manager = kubeconfig.write(
        configs / "controller-manager", server=server, authority=keys.authority, user=users[CONTROLLER_MANAGER]
    )
    plane = ControlPlane(
        folder=folder,
        server=server,
        admin=admin,
        audit_log=folder / "audit.log",
        authority=keys.authority,
        users=users,
    )
    processes.start("etcd", _etcd(binaries, folder, store, peers), tied=tied)
    processes.start("kube-apiserver", _apiserver(binaries, plane, keys, reach, port, store), tied=tied)
    api = _Api(plane)
    _wait("kube-apiserver", "/readyz", api, processes, ["etcd", "kube-apiserver"])
    # Only now: it gives up when the API server takes longer than ten seconds to answer.
    processes.start("kube-controller-manager", _controller_manager(binaries, folder, keys, reach, manager), tied=tied)
    # The first thing that a Pod needs from the controllers, so it is there when they work.
    _wait(
        "kube-controller-manager",
        "/api/v1/namespaces/default/serviceaccounts/default",
        api,
        processes,
        ["etcd", "kube-apiserver", "kube-controller-manager"],
    )
    return plane


def _users(node: str | None) -> dict[str, User]:
    users = [
        kubeconfig.new_user(ADMIN, "system:masters"),
        kubeconfig.new_user(CONTROLLER_MANAGER),
        kubeconfig.new_user(SCHEDULER),
        kubeconfig.new_user(PROXY),
        kubeconfig.new_user(DNS),
    ]
    if node is not None:
        users.append(kubeconfig.new_user(f"system:node:{node}", "system:nodes"))
    return {user.name: user for user in users}


def _etcd(binaries: Path, folder: Path, store: int, peers: int) -> list[str | Path]:
    clients, others = f"http://{network.LOOPBACK}:{store}", f"http://{network.LOOPBACK}:{peers}"
    return [
        *(binaries / "etcd", "--name=longshore", f"--data-dir={folder / 'etcd'}"),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
        *(f"--listen-peer-urls={others}", f"--initial-advertise-peer-urls={others}"),
        f"--initial-cluster=longshore={others}",
        # Nothing here is worth a disk's round trip: a cluster that was cut off is made anew, not repaired.
        "--unsafe-no-fsync",
    ]


def _apiserver(
    binaries: Path, plane: ControlPlane, keys: Certificates, reach: Reach, port: int, store: int
) -> list[str | Path]:
    argv: list[str | Path] = [
        *(binaries / "kube-apiserver", f"--etcd-servers=http://{network.LOOPBACK}:{store}"),
        *(f"--bind-address={reach.address}", f"--secure-port={port}", f"--advertise-address={reach.address}"),
        *(f"--tls-cert-file={keys.server}", f"--tls-private-key-file={keys.server_key}"),
        *(f"--token-auth-file={plane.folder / 'keys' / 'tokens.csv'}", "--authorization-mode=Node,RBAC"),
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
        f"--service-account-key-file={keys.accounts_public_key}",
        f"--service-account-signing-key-file={keys.accounts_key}",
        "--service-account-issuer=https://kubernetes" + _IN_CLUSTER,
        f"--service-cluster-ip-range={reach.services}",
        *(f"--audit-policy-file={plane.folder / 'audit-policy.json'}", f"--audit-log-path={plane.audit_log}"),
        *(f"--kubelet-client-certificate={keys.kubelet_client}", f"--kubelet-client-key={keys.kubelet_client_key}"),
        *("--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true", "--profiling=false"),
    ]
    if not reach.for_pods:
        # It refuses to publish a loopback address, and would complain about that for as long as it runs.
        argv.append("--endpoint-reconciler-type=none")
    return argv


def _controller_manager(
    binaries: Path, folder: Path, keys: Certificates, reach: Reach, config: Path
) -> list[str | Path]:
    return [
        *(binaries / "kube-controller-manager", f"--kubeconfig={config}"),
        *("--leader-elect=false", "--use-service-account-credentials=true", "--profiling=false"),
        *(f"--service-account-private-key-file={keys.accounts_key}", f"--root-ca-file={keys.authority}"),
        f"--service-cluster-ip-range={reach.services}",
        f"--flex-volume-plugin-dir={folder / 'volume-plugins'}",  # it makes this folder, by default under /usr
        "--secure-port=0",  # serves nothing, so that two control planes do not want the same port
    ]


class _Api:
    """Just enough of a client to ask whether the server answers."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._trust: ssl.SSLContext | None = None

    def answers(self, path: str) -> bool:
        if self._trust is None:
            self._trust = ssl.create_default_context(cafile=str(self._plane.authority))
        token = self._plane.users[ADMIN].token
        request = urllib.request.Request(self._plane.server + path, headers={"Authorization": f"Bearer {token}"})
        # No proxy of the machine's may come between.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._trust)
        )
        try:
            with opener.open(request, timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _wait(name: str, path: str, api: _Api, processes: ProcessFolder, must_run: list[str]) -> None:
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while not api.answers(path):
        for process in processes.all():
            if process.name in must_run and not process.running():
                explained = processes.explain(process.name)
                if "address already in use" in explained:
                    raise _PortTaken(f"{process.name} found its port taken\n{explained}")
                raise ClusterError(f"{process.name} ended while it started; {explained}")
        if time.monotonic() > deadline:
            raise ClusterError(f"{name} did not answer within {_ANSWERS_WITHIN_S} s; {processes.explain(name)}")
        time.sleep(0.1)


def stop(folder: Path) -> None:
    """Stop a control plane's processes; its folder stays."""
    ProcessFolder(folder).stop_all(grace_s=5)
