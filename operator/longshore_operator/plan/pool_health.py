"""How a pool's workers are doing: the conditions Ready and Progressing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from longshore_operator.api import reasons
from longshore_operator.api.conditions import PROGRESSING, READY
from longshore_operator.plan.child import Rollout
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.names import WORKER_CONTAINER
from longshore_operator.plan.observed import PodReading

_NO_IMAGE = "its image cannot be pulled; check the image, and imagePullSecrets in spec.template"
# Of the kubelet's messages when a container would run as root, or as a user given by name, which it cannot judge.
_ROOT = ("has runAsNonRoot and", "breaks non-root policy")
_AS_ROOT = (
    "it would run as root, or as a user given by name; set a number as its image's USER, or securityContext.runAsUser "
    "in spec.template (securityContext.runAsNonRoot: false there lets it run as root where the namespace admits that)"
)
# The kubelet's reasons for a container that does not run, and what to do about each. Its own messages carry ages and
# pod names, so they are used only where they are needed (None) and do not.
_FAILURES: dict[str, str | None] = {
    "ErrImagePull": _NO_IMAGE,
    "ImagePullBackOff": _NO_IMAGE,
    "InvalidImageName": "its image is no valid reference; correct the image",
    "ErrImageNeverPull": "its image is not on the node and must not be pulled; load it, or change imagePullPolicy",
    "CrashLoopBackOff": "it ends again and again; see `kubectl logs deployment/{name} --container={container}`",
    "CreateContainerConfigError": None,
    "CreateContainerError": None,
    "RunContainerError": None,
}


def failing_workers(pods: Iterable[PodReading], rollout: Rollout, deployment: str) -> str | None:
    """Why workers cannot run, in words that stay the same while the reason does; None when none is failing."""
    stuck = [pod for pod in pods if pod.waiting_reason in _FAILURES and pod.active and not pod.ready]
    if not stuck:
        return f"Pods cannot be made: {rollout.failure}" if rollout.failure else None
    # The most frequent reason; of equally frequent ones always the same.
    found = Counter((pod.waiting_container or WORKER_CONTAINER, str(pod.waiting_reason)) for pod in stuck)
    container, reason = min(found, key=lambda each: (-found[each], each))
    text = _FAILURES[reason]
    if text is None:
        said = next((pod.waiting_message for pod in stuck if pod.waiting_reason == reason), None) or "see the pods"
        text = _AS_ROOT if any(words in said for words in _ROOT) else said
    else:
        text = text.format(name=deployment, container=container)
    whose = "The container of workers" if container == WORKER_CONTAINER else f"The container {container} beside workers"
    return f"{whose} cannot run ({reason}): {text}."


def ready_condition(*, desired: int, rollout: Rollout, failure: str | None, was_failing: bool) -> Condition:
    """Ready of a pool that has a Deployment. ``was_failing``: what Ready said last.

    A container that ends again and again runs in between; so a pool that was failing is well only once every worker is.
    """
    if failure is not None:
        return Condition(type=READY, status=False, reason=reasons.WORKERS_FAILING, message=failure)
    if desired == 0:
        return Condition(
            type=READY,
            status=True,
            reason=reasons.SCALED_TO_ZERO,
            message="No worker is wanted: the pool stands at zero.",
        )
    if was_failing and rollout.ready < desired:
        return Condition(
            type=READY,
            status=False,
            reason=reasons.WORKERS_FAILING,
            message="Workers that failed are being tried again; not every one is ready yet.",
        )
    if rollout.ready == 0:
        return Condition(
            type=READY,
            status=False,
            reason=reasons.WORKERS_STARTING,
            message="Workers are starting; none is ready yet.",
        )
    return Condition(type=READY, status=True, reason=reasons.WORKERS_READY, message="Workers are ready.")


def progressing_condition(*, desired: int, rollout: Rollout, changing: bool) -> Condition:
    """What Kubernetes still has to do. ``changing``: another template is about to be applied."""
    if rollout.stalled and not changing:
        return Condition(
            type=PROGRESSING,
            status=False,
            reason=reasons.STALLED,
            message="The Deployment has made no progress for five minutes; see Ready and the pods.",
        )
    if rollout.replicas < desired:
        return _progress(reasons.SCALING_UP, "Workers are being added.")
    if changing or not rollout.seen or rollout.updated < min(rollout.replicas, desired):
        return _progress(reasons.ROLLING_OUT, "Workers are being replaced by those of the latest spec.")
    if rollout.replicas > desired:
        return _progress(reasons.SCALING_DOWN, "Workers are being removed, idle ones first.")
    if rollout.ready < desired:
        return _progress(reasons.SCALING_UP, "Workers are starting.")
    return Condition(
        type=PROGRESSING, status=False, reason=reasons.COMPLETE, message="All wanted workers are there and up to date."
    )


def _progress(reason: str, message: str) -> Condition:
    return Condition(type=PROGRESSING, status=True, reason=reason, message=message)
