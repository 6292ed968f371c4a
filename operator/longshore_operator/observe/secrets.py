"""The password that a Broker names: read by GET of that one Secret; the operator may neither list nor watch them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field

from longshore_operator.api.broker import SecretKeyRef
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.resources import SECRETS
from longshore_operator.errors import ApiForbidden
from longshore_operator.plan.observed import SecretReading


@dataclass(frozen=True, kw_only=True, slots=True)
class Password:
    """What was read. ``value`` never leaves the observing side, not even in a repr."""

    reading: SecretReading
    value: str | None = field(default=None, repr=False)  # None when it was not found


async def observe_password(client: ApiClient, namespace: str, ref: SecretKeyRef) -> Password:
    """Read the Secret's key. A missing Secret or key is a reading, too; raises ApiError when it cannot be known."""
    try:
        secret = await client.get(SECRETS, namespace, ref.name)
    except ApiForbidden as error:
        return _missing(f"Secret {ref.name} cannot be read: {error.message}")
    if secret is None:
        return _missing(f"Secret {ref.name} does not exist; create it with the key {ref.key}")
    encoded = (secret.get("data") or {}).get(ref.key)
    if encoded is None:
        return _missing(f"Secret {ref.name} has no key {ref.key}; add it, or name another key in passwordSecretRef")
    try:
        value = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return _missing(f"Secret {ref.name}: the value of {ref.key} is not text")
    # Taken as it is, a newline at the end included: the pods get the same bytes from the kubelet.
    digest = hmac.new(secret["metadata"]["uid"].encode(), value.encode(), hashlib.sha256).hexdigest()[:16]
    return Password(reading=SecretReading(found=True, version=digest), value=value)


def _missing(problem: str) -> Password:
    return Password(reading=SecretReading(found=False, problem=problem))
