"""What the operator's measurements share: a control plane, a Redis, and an operator that serves one namespace."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "dev"), str(REPOSITORY / "tests")]

from handlers.harness import Namespace, OperatorProcess, running_operator  # noqa: E402 - the path comes first
from localcluster import instances  # noqa: E402
from longshore.testing import RedisServer  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a measurement works on."""

    namespace: Namespace
    operator: OperatorProcess
    redis_url: str
    audit_log: Path


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Bring everything up, and down at the end."""
    with (
        instances.control_plane_instance() as access,
        RedisServer() as redis,
        tempfile.TemporaryDirectory() as folder,
    ):
        access.kubectl("apply", "--server-side", "--filename", REPOSITORY / "crds")
        access.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", REPOSITORY / "crds")
        with access.namespace("bench") as name:
            namespace = Namespace(access, name)
            with running_operator(namespace, Path(folder)) as operator:
                yield Bench(namespace=namespace, operator=operator, redis_url=redis.url, audit_log=access.audit_log)
