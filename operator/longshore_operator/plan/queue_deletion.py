"""The end of a Queue: what its deletionPolicy asks for before the object may go.

Tasks in flight are never dropped: they end, or fail and are deleted while they wait for another attempt. An object that
cannot do as its policy says waits and says why. One whose Broker is gone, or whose queue another Queue stands for,
does not wait.
"""

from __future__ import annotations

from longshore.protocol.snapshots import QueueSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.conditions import DELETING
from longshore_operator.api.queue import DeletionPolicy, Queue
from longshore_operator.plan.actions import Note, Plan, RetireQueue, SetFinalizer
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.names import QUEUE_FINALIZER
from longshore_operator.plan.observed import ObservedQueue

_STATES = ("pending", "active", "scheduled", "retry", "aggregating", "completed", "archived")
_WAY_OUT = "set spec.deletionPolicy to Retain to let it go without"


def finalizer(queue: Queue, *, stands: bool) -> SetFinalizer | None:
    """Held by a Queue whose deletion is more than its own. ``stands``: it is the one that stands for its queue."""
    present = QUEUE_FINALIZER in queue.metadata.finalizers
    wanted = stands and queue.spec.deletion_policy is not DeletionPolicy.RETAIN
    if present == wanted or (wanted and queue.deleting):  # the API server accepts no new finalizer on what is going
        return None
    why = f"deletionPolicy is {queue.spec.deletion_policy.value}" if stands else "another Queue stands for it"
    return SetFinalizer(name=QUEUE_FINALIZER, present=wanted, why=why)


def release(queue: Queue, observed: ObservedQueue) -> Plan | None:
    """The plan that lets a Queue that is being deleted go; None while it must wait."""
    name, policy = queue.queue_name, queue.spec.deletion_policy
    if policy is DeletionPolicy.RETAIN:
        return _let_go("deletionPolicy is Retain")
    if observed.removed:
        return _let_go("the queue is removed", _removed(name))
    if observed.broker is None:
        return _let_go("its Broker is gone", _kept(name, f"Broker {queue.spec.broker_ref} is gone"))
    others = [rival.ref for rival in observed.rivals if not rival.deleting]
    if others:
        return _let_go(f"{others[0]} stands for the queue", _kept(name, f"{others[0]} stands for it"))
    return None


def retire(queue: Queue, depth: QueueSnapshot) -> tuple[RetireQueue | None, Condition]:
    """What to do next about the queue of a Queue that is being deleted, and what to say."""
    if depth.problem is not None:
        return None, deleting(reasons.WRONG_TYPE, f"The queue cannot be removed: {depth.problem}; {_WAY_OUT}.")
    delete_tasks = queue.spec.deletion_policy is DeletionPolicy.DELETE
    left = ", ".join(f"{count} {state}" for state in _STATES if (count := getattr(depth, state)))
    if left and not delete_tasks:
        message = f"The queue still has tasks: {left}. The Queue waits until there are none; {_WAY_OUT}."
        return None, deleting(reasons.NOT_EMPTY, message)
    if depth.active and depth.active == depth.size:
        message = f"{depth.active} tasks are running; the queue is removed when they have ended."
        return None, deleting(reasons.TASKS_IN_FLIGHT, message)
    message = f"The queue is being removed; it has {left or 'no tasks'}."
    why = f"the Queue is being deleted, and its deletionPolicy is {queue.spec.deletion_policy.value}"
    action = RetireQueue(queue=queue.queue_name, delete_tasks=delete_tasks, why=why)
    return action, deleting(reasons.REMOVING, message)


def out_of_reach(problem: Condition) -> Condition:
    """While Redis cannot be read."""
    return deleting(problem.reason, f"The queue cannot be removed: {problem.message} Mend it, or {_WAY_OUT}.")


def deleting(reason: str, message: str) -> Condition:
    return Condition(type=DELETING, status=True, reason=reason, message=message)


def _let_go(why: str, *notes: Note) -> Plan:
    return Plan(actions=(SetFinalizer(name=QUEUE_FINALIZER, present=False, why=why),), notes=notes)


def _removed(name: str) -> Note:
    return Note(type="Normal", reason=reasons.QUEUE_REMOVED, message=f"Queue {name} was removed from Redis.")


def _kept(name: str, why: str) -> Note:
    return Note(type="Warning", reason=reasons.QUEUE_KEPT, message=f"Queue {name} stays in Redis: {why}.")
