"""Broker: a Redis, and the scheduler that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import Field

from longshore_operator.api.durations import Duration
from longshore_operator.api.resource import ApiModel, Resource

DEFAULT_BROKER = "default"  # the Broker that is meant when brokerRef is absent


class SecretKeyRef(ApiModel):
    """A key of a Secret in the Broker's namespace."""

    name: str
    key: str = "password"


class Auth(ApiModel):
    """How Redis is told who asks."""

    username: str | None = None  # None: Redis' default user
    password_secret_ref: SecretKeyRef | None = None  # None: no password


class Resources(ApiModel):
    """Compute resources of the scheduler's container."""

    requests: Mapping[str, str | int] | None = None
    limits: Mapping[str, str | int] | None = None


class Scheduler(ApiModel):
    """The Deployment of the Broker's scheduler."""

    replicas: int = 1  # one is active, the others stand by
    image: str | None = None  # None: the operator's own
    resources: Resources | None = None
    template: Mapping[str, Any] | None = None  # a PodTemplateSpec; its container `scheduler` is ours to complete


class BrokerSpec(ApiModel):
    """What a person asks of a Broker."""

    url: str  # redis://, redis-sentinel:// or redis-cluster://, rediss…:// for TLS; without user or password
    auth: Auth | None = None
    poll_interval: Duration = timedelta(seconds=1)
    timeout: Duration = timedelta(seconds=2)  # of one round trip
    scheduler: Scheduler = Field(default_factory=Scheduler)


class Broker(Resource):
    """A Redis."""

    KIND: ClassVar[str] = "Broker"
    PLURAL: ClassVar[str] = "brokers"

    spec: BrokerSpec

    @property
    def scope(self) -> str:
        """What tells this Broker's periodic entries from those of others in the same Redis."""
        return f"{self.namespace}/{self.name}"

    @property
    def password_secret_ref(self) -> SecretKeyRef | None:
        return self.spec.auth.password_secret_ref if self.spec.auth else None
