"""What a test or a person does with a cluster: kubectl, helm, and namespaces that come and go."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster import compile as components
from localcluster.commands import run


@dataclass(frozen=True, kw_only=True)
class Access:
    """Access to one running cluster as its admin."""

    kubeconfig: Path  # kubeconfig file, for clients of one's own
    audit_log: Path  # a JSON object a line for each write, and each read of a service account
    folder: Path  # where its components' logs lie, in logs/NAME.log

    def kubectl(
        self,
        *args: str | Path,
        input: str | None = None,  # noqa: A002 - subprocess's own word for it
        timeout_s: float = 120,
    ) -> str:
        """Run kubectl and give its output; raises ClusterError with kubectl's own words."""
        binary = components.ensure(("kube",)) / "kubectl"
        return run([binary, *args], input=input, env=self._environment(), timeout_s=timeout_s)

    def helm(self, *args: str | Path, timeout_s: float = 300) -> str:
        """Run helm and give its output; raises ClusterError with helm's own words."""
        binary = components.ensure(("helm",)) / "helm"
        return run([binary, *args], env=self._environment(), timeout_s=timeout_s)

    def apply(self, text: str, *, namespace: str | None = None) -> str:
        """Apply manifests given as YAML or JSON text."""
        where = ["--namespace", namespace] if namespace else []
        return self.kubectl("apply", *where, "--filename", "-", input=text)

    @contextmanager
    def namespace(self, prefix: str = "test", *, labels: dict[str, str] | None = None) -> Iterator[str]:
        """Make a namespace with a random name for the length of a block.

        At the end its deletion is asked for and not waited for: it goes on while the next test runs.
        """
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        try:
            if labels:
                self.kubectl("label", "namespace", name, *(f"{key}={value}" for key, value in labels.items()))
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def _environment(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        # Nobody's own kubectl or helm settings, plugins or caches take part.
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(home),
            "HELM_CACHE_HOME": str(home / "helm-cache"),
            "HELM_CONFIG_HOME": str(home / "helm-config"),
            "HELM_DATA_HOME": str(home / "helm-data"),
        }
