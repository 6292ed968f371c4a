"""Images without Docker and without a registry: built by buildah, handed over as archives.

The base image is Debian's own minimal system with its Python, made by mmdebstrap once. Every other image is built from
an ordinary Dockerfile; one that declares `ARG BASE_IMAGE` gets that base unless the caller gives another. buildah keeps
its layers in the cache, so an unchanged build takes a moment, and its archive is written only when its content changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from localcluster import compile as components
from localcluster import paths
from localcluster.commands import run
from localcluster.locks import locked
from localcluster.steps import step

DOCKERFILES = paths.REPOSITORY / "dev" / "images"

# The tag of the product's image, as the charts and examples use it here.
PRODUCT = "longshore:dev"

_SUITE = "bookworm"
_BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
# What nobody reads in a container, and the package lists, which are old by the time somebody wants them.
_BASE_WITHOUT = (
    "--aptopt=APT::Install-Recommends false",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")),
    '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/debconf/*-old',
)

# What every build trusts and no registry decides: nothing is ever pulled.
_TRUST = '{"default": [{"type": "insecureAcceptAnything"}]}'


@dataclass(frozen=True, kw_only=True)
class Image:
    """One built image."""

    name: str  # in full, as Kubernetes knows it
    id: str  # digest of its configuration, in hexadecimal: the same content has the same
    archive: Path  # tar that a node can load


def lock() -> AbstractContextManager[None]:
    """Wait for the right to build; the builder's storage serves one at a time."""
    return locked(paths.cache() / "images.lock", "another run builds images")


def build(dockerfile: Path, context: Path, tag: str, build_args: Mapping[str, str] | None = None) -> Image:
    """Build an image.

    `tag` is a name as in `docker build --tag`. The caller holds `lock()`, also while it reads the archive: the
    next build of the same tag removes it. Raises ClusterError with the builder's last words.
    """
    arguments = dict(build_args or {})
    if "BASE_IMAGE" not in arguments and _declares(dockerfile, "BASE_IMAGE"):
        arguments["BASE_IMAGE"] = _base()
    with step(f"build the image {tag}"):
        return _build(dockerfile, context, tag, arguments)


def build_pause(tag: str) -> Image:
    """Build the image of the pods' first process; the caller holds `lock()`."""
    binary = (components.ensure(("pause",)) / "pause").resolve()
    return _build(DOCKERFILES / "pause.Dockerfile", binary.parent, tag, {})


def full_name(tag: str) -> str:
    """Give the name that Kubernetes makes of a short one: longshore:dev is docker.io/library/longshore:dev."""
    first, slash, _ = tag.partition("/")
    named_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    name = tag if named_registry else f"docker.io/{tag}" if slash else f"docker.io/library/{tag}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _declares(dockerfile: Path, argument: str) -> bool:
    return re.search(rf"^\s*ARG\s+{argument}\b", dockerfile.read_text(), re.MULTILINE | re.IGNORECASE) is not None


def _base() -> str:
    """Make the base image unless it is there, and give its name."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_BASE_PACKAGES)}", *_BASE_WITHOUT]
    key = hashlib.sha256(" ".join([*command, _SUITE]).encode()).hexdigest()[:12]
    archive = paths.cache() / "images" / f"base-{key}" / "base.tar"
    name = f"localhost/longshore-base:{_SUITE}-{key}"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_name("unfinished.tar")
        with step(f"make the base image: Debian {_SUITE} with {', '.join(_BASE_PACKAGES)}"):
            run([*command, _SUITE, str(unfinished)], timeout_s=1200)
            unfinished.replace(archive)
    if _image_id(name) is None:
        _buildah_build(DOCKERFILES / "base.Dockerfile", archive.parent, name, {})
    return name


def _build(dockerfile: Path, context: Path, tag: str, build_args: Mapping[str, str]) -> Image:
    _buildah_build(dockerfile, context, _local_name(tag), build_args)
    image = _image_id(_local_name(tag))
    assert image is not None, "buildah reported success"
    name = full_name(tag)
    stem = f"{re.sub(r'[^a-z0-9.-]+', '-', name)}-"
    archives = paths.cache() / "images" / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    archive = archives / f"{stem}{image[:16]}.tar"
    if not archive.exists():
        unfinished = archive.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        _buildah("push", "--quiet", _local_name(tag), f"docker-archive:{unfinished}:{name}")
        for old in archives.glob(f"{stem}*.tar"):
            old.unlink()
        unfinished.replace(archive)
    return Image(name=name, id=image, archive=archive)


def _local_name(tag: str) -> str:
    # buildah knows images without a registry as localhost's.
    return tag if tag == full_name(tag) else f"localhost/{tag}"


def _buildah_build(dockerfile: Path, context: Path, name: str, build_args: Mapping[str, str]) -> None:
    arguments = [f"--build-arg={key}={value}" for key, value in build_args.items()]
    _buildah(
        "build",
        "--layers",
        "--pull=never",
        "--isolation=chroot",
        "--format=docker",
        *_pip_secrets(),
        *arguments,
        f"--file={dockerfile}",
        f"--tag={name}",
        str(context),
        timeout_s=1800,
    )


def _image_id(name: str) -> str | None:
    listed = _buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={name}").split()
    return listed[0].removeprefix("sha256:") if listed else None


def _buildah(*args: str, timeout_s: float = 600) -> str:
    storage = paths.cache() / "images" / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    policy = storage.parent / "policy.json"
    policy.write_text(_TRUST)
    command = ["buildah", f"--root={storage / 'root'}", f"--runroot={storage / 'run'}", f"--storage-driver={_driver()}"]
    command += [args[0]]
    if args[0] in {"build", "push"}:
        command += [f"--signature-policy={policy}"]
    # In mounts of its own, so that a build that is cut off leaves none behind.
    return run(["unshare", "--mount", "--propagation=private", "--", *command, *args[1:]], timeout_s=timeout_s)


def _driver() -> str:
    storage = paths.cache() / "images"
    kind = run(["stat", "--file-system", "--format=%T", storage]).strip()
    return "vfs" if kind == "overlayfs" else "overlay"


def _pip_secrets() -> list[str]:
    """Give pip inside a build this machine's index and certificates, without a trace in the image.

    They are mounted for the length of a step that asks for them: `pip` is a pip.conf, `ca-bundle` the certificates that
    it names.
    """
    folder = paths.cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        if (option := key.rpartition(".")[2]) in {"index-url", "extra-index-url", "trusted-host", "timeout"}:
            settings[option] = value.strip("'")
    secrets = []
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if bundle and Path(bundle).exists():
        settings["cert"] = "/run/secrets/ca-bundle"
        secrets.append(f"--secret=id=ca-bundle,src={bundle}")
    if settings:
        configuration = folder / "pip.conf"
        configuration.touch(mode=0o600)  # an index may come with a password in its address
        configuration.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
        secrets.append(f"--secret=id=pip,src={configuration}")
    return secrets
