"""Starting and stopping exactly our own processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.waiting import eventually
from localcluster.commands import run
from localcluster.errors import ClusterError
from localcluster.locks import FileLock
from localcluster.processes import ProcessFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ProcessFolder]:
    processes = ProcessFolder(tmp_path)
    yield processes
    processes.stop_all(grace_s=0)


def test_a_stopped_process_is_gone_and_forgotten(folder: ProcessFolder) -> None:
    process = folder.start("sleep", ["sleep", "600"], tied=False)
    assert folder.all() == [process]
    assert process.running()
    folder.stop_all(grace_s=10)
    assert not process.running()
    assert folder.all() == []


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(folder: ProcessFolder) -> None:
    deaf = folder.start("deaf", ["sh", "-c", "trap '' TERM; echo deaf; sleep 600"], tied=False)
    while "deaf" not in folder.log("deaf").read_text():
        assert deaf.running()
    deaf.stop(grace_s=0.2)
    assert not deaf.running()


def test_a_pid_that_came_round_again_is_not_signalled(folder: ProcessFolder) -> None:
    stranger = folder.start("stranger", ["sleep", "600"], tied=False)
    replace(stranger, started=stranger.started - 1).stop(grace_s=0)
    replace(stranger, boot="an earlier one").stop(grace_s=0)
    assert stranger.running()


def test_a_tied_process_dies_with_its_owner(tmp_path: Path) -> None:
    owner = f"""
import pathlib, sys, time
from localcluster.processes import ProcessFolder
ProcessFolder(pathlib.Path({str(tmp_path)!r})).start("tied", ["sleep", "600"], tied=True)
print("started", flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", owner], env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "started\n"
        (tied,) = ProcessFolder(tmp_path).all()
        running.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while tied.running():
        assert time.monotonic() < deadline, "the tied process outlived its owner"
        time.sleep(0.01)


def test_a_process_whose_starter_is_killed_before_it_is_remembered_does_not_begin(tmp_path: Path) -> None:
    starter = f"""
import os, pathlib, signal
from localcluster.processes import ProcessFolder
class Killed(ProcessFolder):
    def adopt(self, name, pid):
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
Killed(pathlib.Path({str(tmp_path)!r})).start("begun", ["sh", "-c", "echo begun; sleep 600"], tied=False)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", starter], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    eventually(Path("/proc", done.stdout.strip()).exists, False)
    assert ProcessFolder(tmp_path).log("begun").read_text() == ""


def test_a_program_that_is_not_there_is_named(folder: ProcessFolder) -> None:
    with pytest.raises(ClusterError, match=r"longshore-nowhere is not installed \(needed for missing\)"):
        folder.start("missing", ["longshore-nowhere"], tied=False)


def test_a_lock_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


def test_a_folder_can_be_locked_and_stays_as_it_is(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path), FileLock(tmp_path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_fails_is_told_with_all_that_it_said() -> None:
    with pytest.raises(ClusterError, match=r"(?s)failed with 3: .*\nwhat led to it\nwhat went wrong"):
        run(["sh", "-c", "echo what led to it; echo what went wrong >&2; exit 3"])
