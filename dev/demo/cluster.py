"""The cluster the demo runs on, seen through kubectl and helm."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError


async def run(
    *argv: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> str:
    """Run a program and give its standard output. Raises DemoError with the program's own words when it fails."""
    words = [str(word) for word in argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=DEVNULL if stdin is None else PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **(env or {})},
        )
    except FileNotFoundError as error:
        raise DemoError(f"{words[0]} is not installed (needed for: {shlex.join(words)})") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
    except TimeoutError as error:
        raise DemoError(f"took longer than {timeout_s:.0f} s: {shlex.join(words)}") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DemoError(f"failed: {shlex.join(words)}\n{(err or out).decode(errors='replace').strip()[-4000:]}")
    return out.decode()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Access to one running cluster as its admin."""

    kubeconfig: Path
    kubectl_binary: Path
    helm_binary: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig)}

    async def kubectl(self, *args: str | Path, stdin: str | None = None, timeout_s: float = 120) -> str:
        """Run kubectl and give its output."""
        return await run(self.kubectl_binary, *args, stdin=stdin, env=self.environment, timeout_s=timeout_s)

    async def helm(self, *args: str | Path, timeout_s: float = 240) -> str:
        """Run helm and give its output."""
        return await run(self.helm_binary, *args, env=self.environment, timeout_s=timeout_s)

    async def read(self, *args: str) -> Any:
        """`kubectl get ARGS` as a value."""
        return json.loads(await self.kubectl("get", *args, "--output", "json"))

    async def start_kubectl(self, *args: str) -> Process:
        """Start a kubectl that goes on until it is killed, with its output to read; the caller ends it."""
        # Should the demo be killed, kubectl goes with it instead of holding its port for ever.
        tied = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        return await asyncio.create_subprocess_exec(
            *tied,
            str(self.kubectl_binary),
            *args,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **self.environment},
            limit=2**24,
        )
