"""Copy crds/ into the chart of the definitions, and that chart into the operator's: each must be complete in itself.

`helm install` from a checkout and `helm package` then need no network and no step before them. A test compares.

python dev/sync_chart.py            # copy
python dev/sync_chart.py --check    # only say what differs; exit code 1 if anything does
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DEFINITIONS = REPOSITORY / "crds"
CRDS_CHART = REPOSITORY / "helm" / "longshore-crds"
SUBCHART = REPOSITORY / "helm" / "longshore" / "charts" / "longshore-crds"
# In this order: the second copies what the first has made.
COPIES = ((DEFINITIONS, CRDS_CHART / "files"), (CRDS_CHART, SUBCHART))


def differences(source: Path, copy: Path) -> list[str]:
    """Name every file that is missing from the copy, differs there, or is there alone."""
    wanted, present = _files(source), _files(copy)
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def synchronize(source: Path, copy: Path) -> list[str]:
    """Make the copy equal to its source; give the names that changed."""
    changed = differences(source, copy)
    wanted = _files(source)
    for name in changed:
        target = copy / name
        if name in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wanted[name])
        else:
            target.unlink()
    return changed


def _files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def main() -> int:
    stale = False
    for source, copy in COPIES:
        where = copy.relative_to(REPOSITORY)
        if "--check" in sys.argv[1:]:
            for name in differences(source, copy):
                print(f"{where / name}: differs from {source.relative_to(REPOSITORY)}; run: python dev/sync_chart.py")
                stale = True
        else:
            for name in synchronize(source, copy):
                print(f"updated {where / name}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
