"""Who may talk to the API server, and the files that let them.

Every client has a bearer token of its own: the audit log then says who wrote what, and each component has no more
rights than upstream gives it.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class User:
    """One client of the API server."""

    name: str
    token: str
    groups: tuple[str, ...] = ()


def new_user(name: str, *groups: str) -> User:
    """Make a user with a fresh random token."""
    return User(name=name, token=secrets.token_hex(24), groups=groups)


def write_token_file(file: Path, users: list[User]) -> None:
    """Write the users in the form of --token-auth-file: token,name,uid,"groups"."""
    lines = [f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"' for user in users]
    _write_private(file, "\n".join(lines) + "\n")


def write(file: Path, *, server: str, authority: Path, user: User) -> Path:
    """Write a kubeconfig for one user; JSON is YAML. Gives the file back."""
    trusted = base64.b64encode(authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "longshore", "cluster": {"server": server, "certificate-authority-data": trusted}}],
        "users": [{"name": user.name, "user": {"token": user.token}}],
        "contexts": [{"name": "longshore", "context": {"cluster": "longshore", "user": user.name}}],
        "current-context": "longshore",
    }
    _write_private(file, json.dumps(config, indent=1) + "\n")
    return file


def _write_private(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and moved: a reader never sees half a file, and nobody else ever sees the token.
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    fresh.replace(file)
