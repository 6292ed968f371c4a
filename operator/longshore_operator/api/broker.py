"""Broker: a Redis, and the scheduler that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum, StrEnum
from typing import ClassVar, Self

from pydantic import Field, model_validator

from longshore_operator.api.durations import Duration
from longshore_operator.api.nesting import OpenObject
from longshore_operator.api.resource import ApiModel, Resource

DEFAULT_BROKER = "default"  # the Broker that is meant when brokerRef is absent


class SecretKeyRef(ApiModel):
    """A key of a Secret in the Broker's namespace."""

    name: str
    key: str = "password"


class CaSecretKeyRef(SecretKeyRef):
    """The same for certificates of authorities, which have another key as a rule."""

    key: str = "ca.crt"


class SecretRef(ApiModel):
    """A Secret in the Broker's namespace whose keys are given by its kind (kubernetes.io/tls)."""

    name: str


class Auth(ApiModel):
    """How Redis is told who asks."""

    username: str | None = None  # None: Redis' default user
    password_secret_ref: SecretKeyRef | None = None  # None: no password


class Sentinel(ApiModel):
    """The master that sentinels watch."""

    master_name: str
    addresses: tuple[str, ...]  # host:port
    username: str | None = None  # of the sentinels, who have their own users
    password_secret_ref: SecretKeyRef | None = None


class Cluster(ApiModel):
    """A Redis Cluster."""

    addresses: tuple[str, ...]  # host:port of some of its nodes


class Tls(ApiModel):
    """How TLS is spoken."""

    ca_secret_ref: CaSecretKeyRef | None = None  # None: the authorities of the image
    client_cert_secret_ref: SecretRef | None = None
    server_name: str | None = None  # None: the host as it is written
    insecure_skip_verify: bool = False


class Mode(StrEnum):
    """What a Broker's addresses are."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Credential(Enum):
    """What a Secret that a Broker names is for. The value is the field that names it."""

    PASSWORD = "auth.passwordSecretRef"
    SENTINEL_PASSWORD = "sentinel.passwordSecretRef"
    AUTHORITIES = "tls.caSecretRef"
    CLIENT_CERTIFICATE = "tls.clientCertSecretRef (certificate)"
    CLIENT_KEY = "tls.clientCertSecretRef (key)"


# Fixed by Kubernetes for Secrets of the type kubernetes.io/tls.
CERTIFICATE_KEY, PRIVATE_KEY = "tls.crt", "tls.key"


class Resources(ApiModel):
    """Compute resources of the scheduler's container."""

    requests: Mapping[str, str | int] | None = None
    limits: Mapping[str, str | int] | None = None


class Scheduler(ApiModel):
    """The Deployment of the Broker's scheduler."""

    replicas: int = 1  # one is active, the others stand by
    image: str | None = None  # None: the operator's own
    resources: Resources | None = None
    template: OpenObject | None = None  # a PodTemplateSpec; its container `scheduler` is ours to complete


class BrokerSpec(ApiModel):
    """What a person asks of a Broker."""

    # Exactly one of these three.
    url: str | None = None  # redis:// or rediss://, without user or password
    sentinel: Sentinel | None = None
    cluster: Cluster | None = None
    database: int | None = None  # None: the URL's, or 0
    auth: Auth | None = None
    tls: Tls | None = None
    poll_interval: Duration = timedelta(seconds=1)
    timeout: Duration = timedelta(seconds=2)  # of one round trip
    scheduler: Scheduler = Field(default_factory=Scheduler)

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        given = [each for each in (self.url, self.sentinel, self.cluster) if each is not None]
        if len(given) != 1:
            raise ValueError("exactly one of url, sentinel and cluster must be given")
        if self.url is not None and not self.url.startswith(("redis://", "rediss://")):
            raise ValueError("url must start with redis:// or rediss://; sentinels and clusters have their own fields")
        return self


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
    def mode(self) -> Mode:
        """What its addresses are."""
        if self.spec.sentinel is not None:
            return Mode.SENTINEL
        return Mode.STANDALONE if self.spec.cluster is None else Mode.CLUSTER

    @property
    def secrets(self) -> Mapping[Credential, SecretKeyRef]:
        """Every key of a Secret that it names, and what for. Nothing but these is ever read."""
        auth, sentinel, tls = self.spec.auth, self.spec.sentinel, self.spec.tls
        certificate = tls.client_cert_secret_ref if tls else None
        named = {
            Credential.PASSWORD: auth.password_secret_ref if auth else None,
            Credential.SENTINEL_PASSWORD: sentinel.password_secret_ref if sentinel else None,
            Credential.AUTHORITIES: tls.ca_secret_ref if tls else None,
        }
        if certificate is not None:
            named[Credential.CLIENT_CERTIFICATE] = SecretKeyRef(name=certificate.name, key=CERTIFICATE_KEY)
            named[Credential.CLIENT_KEY] = SecretKeyRef(name=certificate.name, key=PRIVATE_KEY)
        return {credential: ref for credential, ref in named.items() if ref is not None}
