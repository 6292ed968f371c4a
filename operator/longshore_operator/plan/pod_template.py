"""The pod template of a Deployment of ours: our defaults, and a person's template that wins over them by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longshore_operator.plan.processes import HEALTH_PORT, REDIS_WAIT, Process, SecretFiles, SecretValue

# Beyond the drain time: for the process to notice the signal, put tasks back and say goodbye before it is killed.
_GRACE_MARGIN_S = 15

# Lists whose items have a key of their own are joined by it, as the API server does; all others are replaced whole.
_LIST_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
}
# A union of alternatives (a value or its source, one kind of probe or volume): half of ours and half of theirs would
# be neither, so the person's is taken as it is.
_UNIONS = frozenset({"env", "volumes", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"})


def pod_template(
    *,
    container: str,
    process: Process,
    image: str | None,
    image_pull_policy: str | None = None,
    resources: Mapping[str, Any] | None = None,
    template: Mapping[str, Any] | None,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """A PodTemplateSpec that runs ``process`` in ``container``, completed by ``template``.

    ``labels`` and ``annotations`` are ours and cannot be overridden: they select and replace the pods.
    """
    own = {
        "spec": {
            # The API server is no business of a worker: a stolen token would be worth more than the task.
            "automountServiceAccountToken": False,
            # A Service named longshore-… would otherwise inject variables that read like our settings.
            "enableServiceLinks": False,
            # Else the process is the first of its container's namespace, and the kernel drops a SIGTERM that such a one
            # has no handler for yet. A worker that is told to stop while it starts would go on, take tasks, and be
            # killed over them when the grace period ends.
            "shareProcessNamespace": True,
            "terminationGracePeriodSeconds": int(process.drain.total_seconds()) + _GRACE_MARGIN_S,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [_container(container, process, image, image_pull_policy, resources)],
            "volumes": [{"name": "tmp", "emptyDir": {}}, *(_volume(files) for files in process.files)],
        }
    }
    joined: dict[str, Any] = _join(own, template or {})
    metadata = dict(joined.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    given = metadata.get("annotations") or {}
    if not isinstance(given, Mapping):
        pass  # as it is: the API server refuses it, and says why
    elif given or annotations:
        metadata["annotations"] = {**given, **annotations}
    return {**joined, "metadata": metadata}


def container_image(template: Mapping[str, Any], container: str) -> str | None:
    """The image of a container in a rendered pod template."""
    for each in template["spec"].get("containers") or []:
        if each.get("name") == container:
            return each.get("image") or None
    return None


def _container(
    name: str,
    process: Process,
    image: str | None,
    image_pull_policy: str | None,
    resources: Mapping[str, Any] | None,
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "env": [_variable(variable, value) for variable, value in process.environment.items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            *({"name": each.name, "mountPath": each.folder, "readOnly": True} for each in process.files),
        ],
    }
    if image is not None:
        container["image"] = image
    if image_pull_policy is not None:
        container["imagePullPolicy"] = image_pull_policy
    if resources:
        container["resources"] = dict(resources)
    if process.command is not None:
        container["command"] = list(process.command)
    if process.serves_health:
        container["ports"] = [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}]
        # Imports of an app can take long, and so can the wait for Redis; until the first answer only this probe runs,
        # often, so that a fresh worker is seen as ready soon.
        patience_s = int(REDIS_WAIT.total_seconds()) + 180
        container["startupProbe"] = {**_probe("/livez"), "periodSeconds": 1, "failureThreshold": patience_s}
        # A worker that answers late is most often on a node that is starved, and to restart it there would cost running
        # tasks. Nothing is lost by patience: of one that hangs, the leases end by themselves after half a minute.
        container["livenessProbe"] = {**_probe("/livez"), "periodSeconds": 10, "failureThreshold": 6}
        container["readinessProbe"] = {**_probe("/readyz"), "periodSeconds": 5, "failureThreshold": 2}
    return container


def _variable(name: str, value: str | SecretValue) -> dict[str, Any]:
    if isinstance(value, SecretValue):
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
    # Kubernetes replaces $(NAME) in a value, and $$ by one dollar: a queue may have such a name.
    return {"name": name, "value": value.replace("$", "$$")}


def _volume(files: SecretFiles) -> dict[str, Any]:
    # Only the keys that are needed: a Secret may hold others, such as the authority's own key.
    items = [{"key": key, "path": path} for key, path in files.files.items()]
    return {"name": files.name, "secret": {"secretName": files.secret, "items": items}}


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "health"}, "timeoutSeconds": 5}


def _join(ours: Any, theirs: Any, field: str = "") -> Any:
    """``theirs`` over ``ours``. An explicit null removes what is ours."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and field not in _UNIONS:
        joined = {key: value for key, value in ours.items() if theirs.get(key, value) is not None}
        for key, value in theirs.items():
            if value is not None:
                joined[key] = _join(ours[key], value, key) if key in ours else value
        return joined
    key = _LIST_KEYS.get(field)
    if key is not None and isinstance(ours, list) and isinstance(theirs, list):
        return _join_lists(ours, theirs, key, union=field in _UNIONS)
    return theirs


def _join_lists(ours: list[Any], theirs: list[Any], key: str, *, union: bool) -> list[Any]:
    """Ours first and in our order, since a variable may refer to earlier ones; then what is theirs alone.

    What is no item with such a key goes along as it is, for the API server to refuse.
    """
    given = {each[key]: each for each in theirs if _has_key(each, key)}
    joined = []
    for each in ours:
        other = given.pop(each.get(key), None)
        joined.append(each if other is None else (other if union else _join(each, other)))
    return [*joined, *(each for each in theirs if not _has_key(each, key) or each[key] in given)]


def _has_key(item: Any, key: str) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get(key), str | int)
