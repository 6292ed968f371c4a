#!/usr/bin/env bash
# Writes the lock files: what the image holds, that plus the tools of development, what draws, and what builds the package.
# Run it after a change of pyproject.toml; --upgrade moves every version.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    .venv/bin/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --extra operator --extra uvloop "$@" pyproject.toml
}
compile "$@" --output-file requirements/lock.txt
compile "$@" --constraint requirements/lock.txt --group dev --output-file requirements/dev.txt
.venv/bin/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links "$@" --constraint requirements/dev.txt --group pictures \
    --output-file requirements/pictures.txt
build=$(.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")')
.venv/bin/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --constraint requirements/dev.txt "$@" --output-file requirements/build.txt - <<<"$build"
