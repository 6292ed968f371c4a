"""The operator's settings: each one a flag and an environment variable, checked before anything starts."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from datetime import timedelta

from longshore_operator.errors import SettingsError

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Checked values. ``docs/operator.md`` has the table."""

    namespace: str  # the operator's own, where its Lease is
    image: str  # of schedulers whose Broker names none
    image_pull_policy: str | None = None  # of that image; None: Kubernetes' default for its tag
    watch_namespaces: tuple[str, ...] = ()  # the only ones to serve; none: all
    lease_name: str = "longshore-operator"
    identity: str  # of this replica, in the Lease; the pod's name
    health_host: str = ""  # empty: all interfaces
    health_port: int = 8080
    metrics: tuple[str, int] | None = None  # host and port of /metrics; None: it is off
    full_list_interval: timedelta = timedelta(minutes=5)

    @classmethod
    def parse(
        cls,
        *,
        namespace: str | None,
        image: str | None,
        image_pull_policy: str | None = None,
        watch_namespace: str | None = None,
        lease_name: str = "longshore-operator",
        identity: str | None = None,
        health_address: str = ":8080",
        metrics_address: str = "",
        full_list_seconds: float = 300.0,
    ) -> Settings:
        """Check each value. Raises SettingsError that names the flag and the fix."""
        if not namespace:
            raise SettingsError("--namespace (LONGSHORE_OPERATOR_NAMESPACE) is needed: where the Lease is kept")
        watched = _names(watch_namespace or "")
        for flag, value in (("--namespace", namespace), *(("--watch-namespace", each) for each in watched)):
            if not _NAMESPACE.fullmatch(value):
                raise SettingsError(f"{flag}: {value!r} is not a namespace's name")
        if not image:
            raise SettingsError("--image (LONGSHORE_IMAGE) is needed: the image that schedulers run")
        if image_pull_policy and image_pull_policy not in PULL_POLICIES:
            raise SettingsError(f"--image-pull-policy: {image_pull_policy!r} is none of {', '.join(PULL_POLICIES)}")
        if full_list_seconds < 1:
            raise SettingsError(f"--full-list-seconds: {full_list_seconds:g} is less than 1")
        host, port = _address("--health-address", health_address)
        return cls(
            namespace=namespace,
            image=image,
            image_pull_policy=image_pull_policy or None,
            watch_namespaces=watched,
            lease_name=lease_name,
            identity=identity or socket.gethostname(),
            health_host=host,
            health_port=port,
            metrics=_address("--metrics-address", metrics_address) if metrics_address else None,
            full_list_interval=timedelta(seconds=full_list_seconds),
        )


def _names(text: str) -> tuple[str, ...]:
    """Split at commas; each name once. Nothing but blanks: none."""
    names = [name.strip() for name in text.split(",")]
    return tuple(dict.fromkeys(names)) if any(names) else ()


def _address(flag: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{flag}: {text!r} is not host:port (or :port, for all interfaces)")
    return host.removeprefix("[").removesuffix("]"), int(port)
