"""A door from this machine to the Redis in the cluster, through the API server: works with every kind of cluster."""

from __future__ import annotations

import asyncio
import contextlib
import re
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from demo.cluster import Cluster
from demo.errors import DemoError

OPENED = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")
OPENING_S = 20


@asynccontextmanager
async def forwarded(cluster: Cluster, namespace: str, target: str, port: int) -> AsyncIterator[int]:
    """Forward a free port of this machine to a Service's port for the length of a block; gives that port.

    kubectl ends the forwarding when a connection through it breaks; it is then begun anew on the same port.
    """
    kubectl, local = await _start(cluster, namespace, target, f":{port}")
    current = [kubectl]

    async def keep_open() -> None:
        while True:
            await _drain(current[0])
            await current[0].wait()
            current[0], _ = await _start(cluster, namespace, target, f"{local}:{port}")

    keeper = asyncio.create_task(keep_open())
    try:
        yield local
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError, DemoError):
            await keeper
        if current[0].returncode is None:
            current[0].kill()
        await current[0].wait()


async def _start(cluster: Cluster, namespace: str, target: str, ports: str) -> tuple[Process, int]:
    kubectl = await cluster.start_kubectl("--namespace", namespace, "port-forward", target, ports)
    assert kubectl.stdout is not None
    assert kubectl.stderr is not None
    try:
        async with asyncio.timeout(OPENING_S):
            line = await kubectl.stdout.readline()
    except TimeoutError:
        line = b""
    if not (opened := OPENED.search(line)):
        if kubectl.returncode is None:
            kubectl.kill()
        words = (await kubectl.stderr.read()).decode(errors="replace").strip()
        await kubectl.wait()
        raise DemoError(f"cannot reach {target} in namespace {namespace}: {words or 'port-forward said nothing'}")
    return kubectl, int(opened[1])


async def _drain(kubectl: Process) -> None:
    """Read what kubectl prints for each connection; a full pipe would stop it."""
    assert kubectl.stdout is not None
    async for _ in kubectl.stdout:
        pass
