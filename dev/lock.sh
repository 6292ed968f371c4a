#!/usr/bin/env bash
# Writes the two lock files: what the image holds, and that plus the tools of development.
# Run it after a change of pyproject.toml; --upgrade moves every version.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    .venv/bin/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --extra operator --extra uvloop "$@" pyproject.toml
}
compile "$@" --output-file requirements/lock.txt
compile "$@" --constraint requirements/lock.txt --group dev --output-file requirements/dev.txt
