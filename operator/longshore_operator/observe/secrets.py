"""The Secrets that a Broker names: each read by GET; the operator may neither list nor watch them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longshore.broker.base import RedisSettings
from longshore.broker.tls import RedisTls, tls_context
from longshore.errors import InvalidOption
from longshore_operator.api.broker import Credential, SecretKeyRef
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.resources import SECRETS
from longshore_operator.errors import ApiForbidden
from longshore_operator.plan.address import RedisAccess
from longshore_operator.plan.observed import SecretReading


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What was read. ``values`` never leave the observing side, not even in a repr."""

    reading: SecretReading
    values: Mapping[Credential, str] = field(default_factory=dict, repr=False)  # empty unless all of them can be used


async def observe_secrets(client: ApiClient, namespace: str, refs: Mapping[Credential, SecretKeyRef]) -> Credentials:
    """Read the keys, each Secret once. What is missing or unusable is a reading, too; of several the first by name.

    Raises ApiError when it cannot be known.
    """
    secrets: dict[str, Mapping[str, Any] | None] = {}
    for name in sorted({ref.name for ref in refs.values()}):
        try:
            secrets[name] = await client.get(SECRETS, namespace, name)
        except ApiForbidden as error:
            return _unusable(f"Secret {name} cannot be read: {error.message}")
    values: dict[Credential, str] = {}
    for credential, ref in refs.items():
        secret = secrets[ref.name]
        if secret is None:
            return _unusable(f"Secret {ref.name} does not exist; create it with the key {ref.key}")
        encoded = (secret.get("data") or {}).get(ref.key)
        field_name = credential.value.partition(" ")[0]
        if encoded is None:
            return _unusable(f"Secret {ref.name} has no key {ref.key}; add it, or correct {field_name}")
        try:
            # Taken as it is, a newline at the end included: the pods get the same bytes from the kubelet.
            values[credential] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return _unusable(f"Secret {ref.name}: the value of {ref.key} is not text", invalid=True)
        if not values[credential]:
            return _unusable(f"Secret {ref.name}: the value of {ref.key} is empty; fill it in", invalid=True)
    problem = _certificate_problem(refs, values)
    if problem is not None:
        return _unusable(problem, invalid=True)
    keys = [str(secrets[ref.name]["metadata"]["uid"]) for ref in refs.values()]  # type: ignore[index]
    return Credentials(reading=SecretReading(found=True, version=_version(keys, values)), values=values)


def redis_settings(access: RedisAccess, values: Mapping[Credential, str]) -> RedisSettings:
    """How to connect, with the Secrets' values. Raises InvalidOption for certificates that cannot be used."""
    return RedisSettings(
        url=access.url,
        username=access.username,
        password=values.get(Credential.PASSWORD),
        sentinel_username=access.sentinel_username,
        sentinel_password=values.get(Credential.SENTINEL_PASSWORD),
        tls=_tls(values, server_name=access.server_name, insecure_skip_verify=access.insecure_skip_verify)
        if access.tls
        else None,
        timeout=access.timeout,
    )


def _tls(values: Mapping[Credential, str], *, server_name: str | None, insecure_skip_verify: bool) -> RedisTls:
    return RedisTls(
        ca_data=values.get(Credential.AUTHORITIES),
        cert_data=values.get(Credential.CLIENT_CERTIFICATE),
        key_data=values.get(Credential.CLIENT_KEY),
        server_name=server_name,
        insecure_skip_verify=insecure_skip_verify,
    )


def _certificate_problem(refs: Mapping[Credential, SecretKeyRef], values: Mapping[Credential, str]) -> str | None:
    """Tried here as well as in the connection: there, only the field of our own settings could be named."""
    for credentials in ((Credential.AUTHORITIES,), (Credential.CLIENT_CERTIFICATE, Credential.CLIENT_KEY)):
        some = {each: values[each] for each in credentials if each in values}
        if not some:
            continue
        try:
            # every 10 s, so without reading the system's authorities, too
            tls_context(_tls(some, server_name=None, insecure_skip_verify=True))
        except InvalidOption as error:
            keys = " and ".join(refs[each].key for each in some)
            return f"Secret {refs[credentials[0]].name}: {keys} {error.problem}"
    return None


def _version(keys: list[str], values: Mapping[Credential, str]) -> str:
    """The same as long as every value is."""
    digest = hmac.new("/".join(keys).encode(), digestmod=hashlib.sha256)
    for credential, value in values.items():
        digest.update(f"{credential.name}:{len(value)}:{value}".encode())
    return digest.hexdigest()[:16]


def _unusable(problem: str, *, invalid: bool = False) -> Credentials:
    return Credentials(reading=SecretReading(found=False, invalid=invalid, problem=problem))
