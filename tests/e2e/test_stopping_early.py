"""A worker that is told to stop while it still starts, on a real node.

Proved: it ends there and then. The kernel drops signals for which the first process of a namespace has no handler; such
a worker would go on, take tasks, and be killed over them when its grace period ends.
"""

from __future__ import annotations

import json

import pytest

from handlers.waiting import eventually
from localcluster.cluster import NodeAccess
from longshore_operator.api.broker import Broker
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.deployment import desired_worker_deployment

pytestmark = pytest.mark.node

SLOW_APP = """
import time

import longshore

time.sleep(3600)
app = longshore.App()
"""


def test_a_worker_that_is_stopped_while_its_app_is_imported_ends_at_once(node_cluster: NodeAccess) -> None:
    with node_cluster.namespace("stopping") as name:
        node_cluster.kubectl("create", "configmap", "app", f"--from-literal=slow.py={SLOW_APP}", "--namespace", name)
        broker = Broker.parse({"metadata": {"name": "default", "namespace": name}, "spec": {"url": "redis://nowhere"}})
        pool = WorkerPool.parse(
            {
                "metadata": {"name": "crew", "namespace": name, "uid": "none"},
                "spec": {
                    "queues": [{"name": "default"}],
                    "image": "longshore:dev",
                    "app": "slow:app",
                    "drainSeconds": 300,
                    "template": {
                        "spec": {
                            "containers": [
                                {
                                    "name": "worker",
                                    "env": [{"name": "PYTHONPATH", "value": "/slow"}],
                                    "volumeMounts": [{"name": "app", "mountPath": "/slow"}],
                                }
                            ],
                            "volumes": [{"name": "app", "configMap": {"name": "app"}}],
                        }
                    },
                },
            }
        )
        manifest = desired_worker_deployment(pool, broker, replicas=1, secret_version=None)
        del manifest["metadata"]["ownerReferences"]  # there is no such pool
        node_cluster.apply(json.dumps(manifest), namespace=name)

        def started() -> str:
            return node_cluster.kubectl(
                *("get", "pods", "--namespace", name),
                "--output=jsonpath={.items[*].status.containerStatuses[*].state.running.startedAt}",
            )

        eventually(started, lambda at: at != "", within_s=120)
        node_cluster.kubectl("scale", "deployment", "crew-worker", "--replicas=0", "--namespace", name)
        # far less than the grace period of 315 s
        eventually(lambda: node_cluster.kubectl("get", "pods", "--namespace", name, "--output=name"), "", within_s=60)
