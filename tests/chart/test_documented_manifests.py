"""Every manifest of ours in the documentation is accepted by a real API server, as a reader would paste it."""

from __future__ import annotations

import re

import pytest

from chart.rendered import REPOSITORY
from localcluster.access import Access

pytestmark = pytest.mark.cluster

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "helm/longshore/templates/NOTES.txt",
    *(REPOSITORY / "docs").glob("*.md"),
]

# A block is fenced, or set off by four blanks; blank lines within it belong to it.
BLOCK = re.compile(r"^```ya?ml\n(?P<fenced>.*?)^```|(?P<indented>(?:^ {4}[^\n]*\n|^\n)+)", re.MULTILINE | re.DOTALL)


def manifests(text: str) -> list[str]:
    """Give every code block that declares one of our kinds and nothing that is elided."""
    found = []
    for block in BLOCK.finditer(text):
        code = block["fenced"] or re.sub("^ {4}", "", block["indented"] or "", flags=re.MULTILINE)
        code = code.strip("\n")
        if code.startswith("apiVersion: longshore.dev/") and "…" not in code:
            found.append(code)
    return found


def test_blocks_of_both_forms_are_found() -> None:
    indented, fenced = (
        "    apiVersion: longshore.dev/v1alpha1\n    kind: Queue\n",
        "apiVersion: longshore.dev/v1alpha1\n",
    )
    text = f"Text\n\n{indented}\nMore\n\n```yaml\n{fenced}```\n"
    assert manifests(text) == ["apiVersion: longshore.dev/v1alpha1\nkind: Queue", "apiVersion: longshore.dev/v1alpha1"]


EXAMPLES = [
    pytest.param(manifest, id=f"{page.name} {number}")
    for page in sorted(PAGES)
    for number, manifest in enumerate(manifests(page.read_text()), start=1)
]


@pytest.mark.parametrize("manifest", EXAMPLES)
def test_the_api_server_accepts(installed_definitions: Access, manifest: str) -> None:
    for namespace in re.findall(r"\bnamespace: ([a-z0-9-]+)", manifest):
        installed_definitions.apply(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}")
    said = installed_definitions.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "--filename=-", input=manifest
    )
    assert "created" in said


def test_the_pages_a_reader_starts_from_have_manifests() -> None:
    assert any(str(each.id).startswith("getting-started.md") for each in EXAMPLES)
