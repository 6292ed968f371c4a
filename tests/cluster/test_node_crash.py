"""A cluster whose owner or components are killed: nothing stays that the next run trips over.

Each test has a data folder of its own, with the cache of the checkout's, so it runs beside any other cluster.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.waiting import eventually
from localcluster import machine, paths, sandbox
from localcluster.fixtures import skipped_where_impossible
from localcluster.processes import Process, ProcessFolder

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

TIED_OWNER = """
import time
from localcluster import cluster
with cluster.held():
    access = cluster.up(tied=True, with_image=False)
    print("up", flush=True)
    time.sleep(600)
"""

SLEEPER = """
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec:
  containers: [{name: pause, image: "localhost/longshore/pause:1", imagePullPolicy: Never}]
"""


class Harness:
    """The command line on a data folder of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = data / "cluster"
        search = os.pathsep.join([str(paths.REPOSITORY / "dev"), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, "LONGSHORE_CLUSTER_DIR": str(data), "PYTHONPATH": search}

    def run(self, *args: str, text: str | None = None) -> str:
        done = subprocess.run(args, env=self.environment, capture_output=True, text=True, input=text, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def localcluster(self, *args: str) -> str:
        return self.run(sys.executable, "-m", "localcluster", *args)

    def kubectl(self, *args: str, text: str | None = None) -> str:
        return self.run(
            str(self.data / "bin" / "kubectl"), f"--kubeconfig={self.data / 'kubeconfig'}", *args, text=text
        )

    def run_a_pod(self) -> None:
        self.kubectl("apply", "--filename=-", text=SLEEPER)
        self.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=120s")

    def processes(self) -> list[Process]:
        return ProcessFolder(self.folder).all()

    def traces(self) -> list[str]:
        """Give whatever there is of the cluster on this machine."""
        name = sandbox.identity(self.folder)
        found = [str(group) for group in Path("/sys/fs/cgroup").rglob(name)]
        found += [str(interface) for interface in Path("/sys/class/net").glob(name)]
        found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.data) in line]
        found += [str(kept) for kept in (self.folder, self.data / "kubeconfig") if kept.exists()]
        return found + self.command_lines()

    def command_lines(self) -> list[str]:
        """Give the command lines that name the data folder, and those of pods' own processes."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
                groups = (entry / "cgroup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(self.data) in words or sandbox.identity(self.folder) in groups:
                found.append(words)
        return found


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """A harness that finds everything compiled; whatever a test leaves is taken down."""
    with skipped_where_impossible():
        machine.require(machine.missing_for_node())
    (tmp_path / "cache").symlink_to(paths.cache())
    paths.cache().mkdir(parents=True, exist_ok=True)
    harness = Harness(tmp_path)
    try:
        yield harness
    finally:
        harness.localcluster("down")


def test_a_cluster_whose_processes_were_all_killed_comes_up_again_and_goes_down_without_a_trace(
    harness: Harness,
) -> None:
    harness.localcluster("up", "--no-image")
    harness.run_a_pod()
    killed = harness.processes()
    for process in killed:
        if process.running():
            os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: [process.name for process in killed if process.running()], [], within_s=120)

    harness.localcluster("up", "--no-image")
    assert harness.kubectl("get", "pods", "--output=name") == ""
    harness.run_a_pod()

    harness.localcluster("down")
    assert harness.traces() == []


def test_up_leaves_a_healthy_cluster_as_it_is(harness: Harness) -> None:
    harness.localcluster("up", "--no-image")
    before = harness.processes()
    harness.localcluster("up", "--no-image")
    assert harness.processes() == before
    assert "node Ready" in harness.localcluster("status")


def test_a_killed_test_session_takes_its_node_and_pods_along(harness: Harness) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", TIED_OWNER], env=harness.environment, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        assert owner.stdout.readline() == "up\n"
        harness.run_a_pod()
        owner.send_signal(signal.SIGKILL)
    eventually(harness.command_lines, [], within_s=120)
    harness.localcluster("down")
    assert harness.traces() == []


def test_a_start_that_fails_says_why_keeps_every_log_and_leaves_nothing_else(harness: Harness, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "containerd"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no room for containers\nexit 1\n")
    broken.chmod(0o755)
    path = os.pathsep.join([str(broken.parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "localcluster", "up", "--no-image"]
    done = subprocess.run(
        command, env={**harness.environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "containerd ended while it started" in done.stderr
    assert "no room for containers" in done.stderr
    kept = harness.data / "failed-start"
    assert f"every log of this start is in {kept}" in done.stderr
    assert (kept / "containerd.log").read_text() == "no room for containers\n"
    assert harness.traces() == []


@pytest.mark.parametrize("reached", ["sandbox-init", "etcd", "kubelet"])
def test_a_start_that_was_killed_half_way_can_be_taken_down(harness: Harness, reached: str) -> None:
    record = harness.folder / "pids" / f"{reached}.json"
    starting = subprocess.Popen(
        [sys.executable, "-m", "localcluster", "up", "--no-image"], env=harness.environment, stderr=subprocess.DEVNULL
    )
    with starting:
        eventually(lambda: (record.exists(), starting.poll()), (True, None), within_s=120)
        starting.send_signal(signal.SIGKILL)
    assert json.loads(record.read_text())["name"] == reached
    harness.localcluster("down")
    assert harness.traces() == []
