"""What a person would look at when something on the cluster went wrong, gathered before it is gone."""

from __future__ import annotations

from localcluster import cluster, kind, paths
from localcluster.access import Access
from localcluster.errors import ClusterError
from localcluster.processes import ProcessFolder

_LINES = 40
_NOT_READY = (
    'jsonpath={range .items[?(@.status.containerStatuses[*].ready!=true)]}{.metadata.namespace} {.metadata.name}{"\\n"}'
)


def of_the_cluster() -> str:
    """Give pods, events, the logs of pods that are not ready, and the kubelet's, as text; never fails itself."""
    parts = ["\n".join(cluster.status())]
    access = cluster.running()
    if access is not None:
        everywhere = ("--all-namespaces", "--output=wide")
        parts.append(_said(access, "get", "pods", *everywhere))
        parts.append(_said(access, "get", "events", *everywhere, "--sort-by=.lastTimestamp"))
        for line in _said(access, "get", "pods", "--all-namespaces", "--output", _NOT_READY).splitlines()[1:]:
            namespace, _, pod = line.partition(" ")
            parts.append(_said(access, "logs", pod, "--namespace", namespace, "--all-containers", f"--tail={_LINES}"))
    if not kind.usable():
        parts.append(ProcessFolder(paths.cluster_folder()).explain("kubelet", _LINES))
    return "\n".join(parts)


def _said(access: Access, *command: str) -> str:
    try:
        text = access.kubectl(*command, timeout_s=30)
    except ClusterError as error:
        text = str(error)
    return "\n".join([f"--- kubectl {' '.join(command)}", *text.strip().splitlines()[-_LINES:]])
