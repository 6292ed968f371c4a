"""A pod template with all that a pod can have."""

from __future__ import annotations

from typing import Any

# What a pod can have besides; each list in its own order and form, quantities and ports as people write them.
EVERYTHING: dict[str, Any] = {
    "metadata": {"labels": {"team": "mail"}, "annotations": {"prometheus.io/scrape": "true"}},
    "spec": {
        "serviceAccountName": "mailer",
        "automountServiceAccountToken": True,
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 600,
        "nodeSelector": {"disk": "ssd"},
        "imagePullSecrets": [{"name": "registry"}],
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["legacy"]}],
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000, "supplementalGroups": [3000]},
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": {"longshore.dev/pool": "mail"}},
                        },
                    }
                ]
            },
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]
                }
            },
        },
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"longshore.dev/pool": "mail"}},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "0.5Gi"}},
            {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "a", "path": "b"}]}},
            {
                "name": "all",
                "projected": {
                    "sources": [
                        {"secret": {"name": "certificate"}},
                        {"serviceAccountToken": {"path": "token"}},
                        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                    ]
                },
            },
            {
                "name": "scratch",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
                    }
                },
            },
        ],
        "initContainers": [
            {"name": "migrate", "image": "shop:1", "command": ["migrate"], "envFrom": [{"secretRef": {"name": "db"}}]},
            {
                "name": "proxy",
                "image": "proxy:1",
                "restartPolicy": "Always",
                "ports": [{"containerPort": 5432}, {"containerPort": 5432, "protocol": "UDP"}],
                "startupProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1},
            },
        ],
        "containers": [
            {"name": "logs", "image": "logs:1", "volumeMounts": [{"name": "all", "mountPath": "/all"}]},
            {
                "name": "worker",
                "resources": {"requests": {"cpu": 0.1, "memory": "128Mi"}, "limits": {"memory": "1024Mi"}},
                "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "DB_", "secretRef": {"name": "db"}}],
                "env": [
                    {"name": "LONGSHORE_CONCURRENCY", "value": "7"},
                    {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}},
                    {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
                ],
                "volumeMounts": [
                    {"name": "settings", "mountPath": "/etc/shop", "readOnly": True},
                    {"name": "scratch", "mountPath": "/scratch", "subPath": "x"},
                ],
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                "livenessProbe": {"exec": {"command": ["true"]}},
                "securityContext": {"readOnlyRootFilesystem": False, "capabilities": {"add": ["NET_BIND_SERVICE"]}},
            },
        ],
    },
}
