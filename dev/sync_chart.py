"""Copy crds/ into the chart, which must be complete in itself (`helm package`). A test compares the two.

python dev/sync_chart.py            # copy
python dev/sync_chart.py --check    # only say what differs; exit code 1 if anything does
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "crds"
COPY = REPOSITORY / "helm" / "longshore" / "files" / "crds"


def differences(source: Path = SOURCE, copy: Path = COPY) -> list[str]:
    """Name every definition that is missing from the chart, differs there, or is there alone."""
    wanted = {path.name: path.read_bytes() for path in source.glob("*.yaml")}
    present = {path.name: path.read_bytes() for path in copy.glob("*.yaml")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def synchronize(source: Path = SOURCE, copy: Path = COPY) -> list[str]:
    """Make the chart's copies equal to the definitions; give the names that changed."""
    changed = differences(source, copy)
    copy.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if (source / name).exists():
            (copy / name).write_bytes((source / name).read_bytes())
        else:
            (copy / name).unlink()
    return changed


def main() -> int:
    if "--check" in sys.argv[1:]:
        for name in (changed := differences()):
            print(f"{name}: the chart's copy differs from crds/; run: python dev/sync_chart.py")
        return 1 if changed else 0
    for name in synchronize():
        print(f"updated {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
