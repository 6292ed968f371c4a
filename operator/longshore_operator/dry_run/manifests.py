"""Reads manifests as ``kubectl apply -f`` does: files, folders, standard input; several documents a file, lists."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from longshore_operator.api.resource import API_VERSION, GROUP
from longshore_operator.errors import UnreadableManifest

_SUFFIXES = {".yaml", ".yml", ".json"}
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One object as somebody wrote it."""

    source: str  # where it stands: "shop.yaml, document 2"
    manifest: Mapping[str, Any]


def read_manifests(paths: Iterable[str], *, recursive: bool = False) -> list[Document]:
    """Every object in the files and folders, in their order; ``-`` is standard input.

    Raises UnreadableManifest with the place: what is no YAML, and what is no Kubernetes object.
    """
    return [document for path in paths for name, text in _texts(path, recursive) for document in _documents(name, text)]


def _texts(path: str, recursive: bool) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "standard input", sys.stdin.read()
        return
    place = Path(path)
    if place.is_dir():
        found = place.rglob("*") if recursive else place.iterdir()
        files = sorted(each for each in found if each.is_file() and each.suffix in _SUFFIXES)
        if not files:
            hint = "" if recursive else "; --recursive looks into its folders, too"
            raise UnreadableManifest(path, f"holds no .yaml, .yml or .json file{hint}")
    else:
        files = [place]
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableManifest(str(file), getattr(error, "strerror", None) or str(error)) from error


def _documents(name: str, text: str) -> Iterator[Document]:
    try:
        # The safe loader knows no tags that make objects.
        parsed = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise UnreadableManifest(name, " ".join(str(error).split())) from error
    for number, each in enumerate(parsed, start=1):
        if each is None:
            continue  # nothing between two rulers
        source = name if len(parsed) == 1 else f"{name}, document {number}"
        yield from _objects(source, each)


def _objects(source: str, parsed: Any) -> Iterator[Document]:
    if not isinstance(parsed, dict) or not isinstance(parsed.get("kind"), str):
        raise UnreadableManifest(source, "is no Kubernetes object: it has no kind")
    if not isinstance(parsed.get("apiVersion"), str):
        raise UnreadableManifest(source, f"the {parsed['kind']} has no apiVersion")
    if parsed["kind"].endswith("List") and isinstance(parsed.get("items"), list):
        for number, item in enumerate(parsed["items"], start=1):
            yield from _objects(f"{source}, item {number}", item)
        return
    group, _, _ = parsed["apiVersion"].partition("/")
    if group == GROUP and parsed["apiVersion"] != API_VERSION:
        raise UnreadableManifest(source, f"{parsed['apiVersion']} is not known; write {API_VERSION}")
    metadata = parsed.get("metadata")
    if group == GROUP and not (isinstance(metadata, dict) and isinstance(metadata.get("name"), str)):
        raise UnreadableManifest(source, f"the {parsed['kind']} has no metadata.name")
    yield Document(source=source, manifest=parsed)
