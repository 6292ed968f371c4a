"""What the tests of this folder put on and look at, beside the harness of the handlers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handlers.harness import Namespace
from handlers.waiting import eventually
from localcluster.access import Access
from localcluster.errors import ClusterError
from localcluster.processes import ProcessFolder
from longshore import Client, Task


async def enqueue(url: str, queue: str, count: int) -> None:
    """Tasks that nobody works at: there is no node."""
    async with Client(url) as client:
        await client.enqueue_many([Task("t", {}, queue=queue) for _ in range(count)])


def pod_owners_of(namespace: Namespace) -> dict[str, list[str]]:
    """The ReplicaSets of each Deployment, by its name; two mean that its template has changed."""
    found: dict[str, list[str]] = defaultdict(list)
    listed = namespace.request("GET", f"/apis/apps/v1/namespaces/{namespace.name}/replicasets")
    assert listed is not None
    for each in listed["items"]:
        (owner,) = each["metadata"]["ownerReferences"]
        found[owner["name"]].append(each["metadata"]["name"])
    return dict(found)


@contextmanager
def restarted(access: Access, *, down_s: float) -> Iterator[None]:
    """End kube-apiserver with SIGKILL, and after the block start it with the same arguments; ready at the end."""
    processes = ProcessFolder(access.folder)
    (server,) = [each for each in processes.all() if each.name == "kube-apiserver"]
    argv = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    server.stop(grace_s=0)
    yield
    time.sleep(down_s)
    processes.start("kube-apiserver", argv, tied=True)
    eventually(lambda: _ready(access), True, within_s=120)


def _ready(access: Access) -> bool:
    try:
        return access.kubectl("get", "--raw", "/readyz", timeout_s=20) == "ok"
    except ClusterError:
        return False
