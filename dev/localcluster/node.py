"""The node: containerd, kube-scheduler, kubelet, kube-proxy and CoreDNS, around a sandbox.

What must see the node's network and mounts runs inside the sandbox; the scheduler needs only the API and runs beside
the control plane. The settings are upstream's defaults wherever the sandbox makes that possible; each departure says
why.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from localcluster import cgroups, control_plane, kubeconfig, sandbox
from localcluster.access import Access
from localcluster.commands import run
from localcluster.control_plane import ControlPlane
from localcluster.errors import ClusterError
from localcluster.images import Image
from localcluster.processes import ProcessFolder
from localcluster.sandbox import Sandbox

NAME = "longshore"
PAUSE_IMAGE = "localhost/longshore/pause:1"

_SOCKET = "/run/containerd/containerd.sock"  # inside the sandbox
_READY_WITHIN_S = 180
_UNUSED_PLUGINS = [
    "io.containerd.internal.v1.opt",
    *(f"io.containerd.snapshotter.v1.{kind}" for kind in ("aufs", "btrfs", "devmapper", "zfs")),
]
# Debian's place for the plugins, and upstream's.
_PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))

# CoreDNS answers from these; upstream's own add-on has the same role.
_DNS_ROLE = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": control_plane.DNS},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": control_plane.DNS},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": control_plane.DNS},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": control_plane.DNS}],
        },
    ],
}


def start_containerd(folder: Path, box: Sandbox, processes: ProcessFolder) -> None:
    """Start containerd and return once it answers."""
    configuration = folder / "containerd.toml"
    networks = folder / "cni"
    networks.mkdir(exist_ok=True)
    (networks / "10-longshore.conflist").write_text(json.dumps(_pod_network(box)))
    configuration.write_text(_containerd_toml(folder, networks))
    processes.start("containerd", box.inside(["containerd", "--config", configuration]), tied=False)
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        try:
            ctr(box, "version")
        except ClusterError as error:
            _must_run(processes, "containerd")
            if time.monotonic() > deadline:
                raise ClusterError(f"containerd does not answer; {processes.explain('containerd')}") from error
            time.sleep(0.1)
        else:
            return


def ctr(box: Sandbox, *args: str | Path) -> str:
    """Run containerd's own client on the images and containers that Kubernetes sees."""
    return run(box.inside(["ctr", "--address", _SOCKET, "--namespace", "k8s.io", *args]))


def import_image(box: Sandbox, image: Image) -> None:
    """Load a built image under its name."""
    ctr(box, "images", "import", image.archive)


def has_image(box: Sandbox, image: Image) -> bool:
    """Say whether the image's name stands for this very content in the node."""
    # Each image is listed under its names and, by Kubernetes' plugin, under its id; the third column tells which belong
    # together.
    listed = [line.split() for line in ctr(box, "images", "list").splitlines()]
    digests = {words[0]: words[2] for words in listed if len(words) > 2}
    return digests.get(image.name) is not None and digests.get(image.name) == digests.get(f"sha256:{image.id}")


def start(
    folder: Path,
    binaries: Path,
    box: Sandbox,
    plane: ControlPlane,
    access: Access,
    processes: ProcessFolder,
    *,
    tied: bool,
) -> None:
    """Start the rest and return once the node is Ready and takes pods."""
    access.apply(json.dumps(_DNS_ROLE))
    group = sandbox.identity(folder)
    cgroups.create(group)
    configs = folder / "node-configs"
    configs.mkdir(exist_ok=True)

    def client(user: str) -> Path:
        name = user.replace(":", "-")
        return kubeconfig.write(
            configs / f"{name}.kubeconfig", server=plane.server, authority=plane.authority, user=plane.users[user]
        )

    scheduler: list[str | Path] = [
        *(binaries / "kube-scheduler", f"--kubeconfig={client(control_plane.SCHEDULER)}", "--leader-elect=false"),
        *("--secure-port=0", "--profiling=false"),
    ]
    processes.start("kube-scheduler", scheduler, tied=tied)
    kubelet = _json(configs / "kubelet.json", _kubelet(box, plane, group))
    processes.start(
        "kubelet",
        box.inside(
            [
                *(binaries / "kubelet", f"--config={kubelet}", f"--kubeconfig={client(f'system:node:{NAME}')}"),
                *(f"--hostname-override={NAME}", f"--node-ip={box.network.node}"),
            ]
        ),
        tied=False,
    )
    proxy = _json(configs / "kube-proxy.json", _proxy(box, client(control_plane.PROXY)))
    processes.start("kube-proxy", box.inside([binaries / "kube-proxy", f"--config={proxy}"]), tied=False)
    corefile = configs / "Corefile"
    corefile.write_text(_corefile(box, client(control_plane.DNS)))
    processes.start("coredns", box.inside([binaries / "coredns", "-conf", corefile]), tied=False)
    _wait_ready(access, processes)


def _json(file: Path, value: dict[str, Any]) -> Path:
    file.write_text(json.dumps(value, indent=1))
    return file


def _must_run(processes: ProcessFolder, *names: str) -> None:
    for process in processes.all():
        if process.name in names and not process.running():
            raise ClusterError(f"{process.name} ended while it started; {processes.explain(process.name)}")


def _wait_ready(access: Access, processes: ProcessFolder) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while not ready(access):
        _must_run(processes, "kube-scheduler", "kubelet", "kube-proxy", "coredns", "containerd")
        if time.monotonic() > deadline:
            raise ClusterError(f"the node is not Ready after {_READY_WITHIN_S} s; {processes.explain('kubelet')}")
        time.sleep(0.25)


def ready(access: Access) -> bool:
    """Say whether the node is Ready and free of the taints that keep pods away until then."""
    try:
        node = json.loads(access.kubectl("get", "node", NAME, "--output", "json"))
    except ClusterError:
        return False
    conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def _pod_network(box: Sandbox) -> dict[str, Any]:
    return {
        "cniVersion": "0.4.0",
        "name": "longshore",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isDefaultGateway": True,
                "hairpinMode": True,  # a pod may reach itself through its own Service
                "ipMasq": False,  # this machine has a route to the pods and sees their own addresses
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/pod-addresses",
                    "ranges": [[{"subnet": str(box.network.pods)}]],
                },
            }
        ],
    }


def _containerd_toml(folder: Path, networks: Path) -> str:
    plugins = next((place for place in _PLUGIN_FOLDERS if (place / "bridge").exists()), _PLUGIN_FOLDERS[0])
    # Layers of an overlay cannot lie on an overlay, as inside a container.
    on_overlay = run(["stat", "--file-system", "--format=%T", folder]).strip() == "overlayfs"
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
# `opt` makes /opt/containerd, which is not inside the sandbox; the others ask for kernel modules.
disabled_plugins = {json.dumps(_UNUSED_PLUGINS)}

[grpc]
address = "{_SOCKET}"

[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
# Without CAP_SYS_RESOURCE nobody may lower a score, and runc fails on trying.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[{cri}.containerd]
snapshotter = "{"native" if on_overlay else "overlayfs"}"
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false

[{cri}.cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
"""


def _kubelet(box: Sandbox, plane: ControlPlane, group: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(plane.authority)}},
        "containerRuntimeEndpoint": f"unix://{_SOCKET}",
        "cgroupDriver": "cgroupfs",  # there need be no systemd
        "cgroupRoot": f"/{group}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [str(box.network.node)],
        "resolvConf": "",  # this machine's name servers are out of the pods' reach
        "failSwapOn": False,
        # The machine is a developer's: its other programs must not make the node evict or refuse pods.
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,  # images are loaded, and could not be pulled again
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",  # the default lies outside the sandbox
        "readOnlyPort": 0,
    }


def _proxy(box: Sandbox, config: Path) -> dict[str, Any]:
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NAME,
        "clusterCIDR": str(box.network.pods),
        "clientConnection": {"kubeconfig": str(config)},
        # These would write settings that belong to the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        # Where bridged packets pass iptables by, a reply from a pod on the same bridge would go straight back and not
        # be recognised; with the node as sender it comes back to the node.
        "iptables": {"masqueradeAll": not bridged},
    }


def _corefile(box: Sandbox, config: Path) -> str:
    return f""".:53 {{
    bind {box.network.node}
    errors
    ready {box.network.node}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {config}
        ttl 5
    }}
    cache 5
}}
"""
