"""Where everything of the local cluster lies: one folder that git ignores.

.cluster/                 or LONGSHORE_CLUSTER_DIR
  bin/                    kubectl, helm and the components, as links into the cache
  kubeconfig              the admin's access to the cluster that `make cluster` brought up
  cache/                  survives `down`: compiled binaries, base image, built images
  cluster/                state of the one cluster with a node; gone after `down`
  failed-start/           the logs of the last `up` that failed
  control-planes/         one folder for each control plane that a test session started
"""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """Give the data folder, absolute; it need not exist yet."""
    override = os.environ.get("LONGSHORE_CLUSTER_DIR")
    return Path(override).resolve() if override else REPOSITORY / ".cluster"


def binaries() -> Path:
    return data_folder() / "bin"


def cache() -> Path:
    return data_folder() / "cache"


def kubeconfig() -> Path:
    return data_folder() / "kubeconfig"


def cluster_folder() -> Path:
    return data_folder() / "cluster"


def failed_start() -> Path:
    return data_folder() / "failed-start"


def control_planes() -> Path:
    return data_folder() / "control-planes"
