"""Every reason that a condition or an Event of ours can carry. Stable API: programs and alerts compare with them.

The table is also the source of the reference page; each constant is the text that stands in the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """What a reason says, for the reference page and for whoever reads the code."""

    name: str
    where: str  # the conditions that carry it, as "Queue Ready=False", or "Event" for one that only Events carry
    when: str  # exactly when it is set
    fix: str | None  # what a person can do about it; None: nothing is wrong, or it passes by itself


REASONS: dict[str, Reason] = {}


def _reason(name: str, where: str, when: str, fix: str | None = None) -> str:
    REASONS[name] = Reason(name=name, where=where, when=when, fix=fix)
    return name


# -- of several kinds --------------------------------------------------------------------------------------------------

OK = _reason(
    "OK",
    "Broker, Queue, PeriodicTask Ready=True",
    "All is well.",
)
BROKER_NOT_FOUND = _reason(
    "BrokerNotFound",
    "Queue, WorkerPool, PeriodicTask Ready=False; WorkerPool ScalingActive=False; PeriodicTask SchedulerReady=False",
    "No Broker of the name in brokerRef is in the namespace. Nothing is made for the object until there is.",
    "Create the Broker, or correct brokerRef.",
)
BROKER_UNREACHABLE = _reason(
    "BrokerUnreachable",
    "Broker Reachable=False; any kind, Ready=False; WorkerPool ScalingActive=False; Queue Deleting=True",
    "Redis could not be read twice in a row, or not once since the operator started. Replica counts are held.",
    "See the Broker's Reachable condition for Redis' own reason.",
)
PARTLY_UNREACHABLE = _reason(
    "PartlyUnreachable",
    "Broker Ready=False; Broker Reachable=False",
    "A server of the cluster could not be read; the others were. Pools with a queue there do not shrink.",
    "See the message for the server and its reason; the cluster should replace it by its replica.",
)
SECRET_NOT_FOUND = _reason(
    "SecretNotFound",
    "Broker, WorkerPool Ready=False; Broker Reachable=False",
    "A Secret or a key that the Broker names is not there. Running workers go on with what they have.",
    "Create the Secret with that key, or correct the field that names it.",
)
SECRET_INVALID = _reason(
    "SecretInvalid",
    "Broker, WorkerPool Ready=False; Broker Reachable=False",
    "A Secret's key that the Broker names is empty, is not text, or is no certificate or key that can be used.",
    "Put the right value under the key that the message names.",
)
INVALID_TEMPLATE = _reason(
    "InvalidTemplate",
    "WorkerPool Ready=False; Broker SchedulerReady=False",
    "The Deployment cannot be made from the spec; the message is the API server's. The last good one keeps running.",
    "Correct the field that the message names, most often within spec.template.",
)
NAME_CONFLICT = _reason(
    "NameConflict",
    "WorkerPool Ready=False; Broker SchedulerReady=False",
    "A Deployment, or a pool's PodDisruptionBudget, of the name that is needed exists and belongs to someone else. "
    "It is left alone.",
    "Delete or rename what the message names, or give our object another name.",
)
INVALID_SPEC = _reason(
    "InvalidSpec",
    "any kind, Ready=False",
    "The object cannot be read, although the API server has stored it: it is older than a rule of the schema, or a "
    "field that may hold anything is nested too deep.",
    "Correct the fields that the message names.",
)
NOT_PAUSED = _reason("NotPaused", "Queue, WorkerPool Paused=False", "Nothing is paused.")
PAUSED_BY_SPEC = _reason(
    "PausedBySpec", "Queue, WorkerPool Paused=True", "The spec's paused (a pool's autoscaling.paused) is true."
)

# -- Broker ------------------------------------------------------------------------------------------------------------

REDIS_ANSWERS = _reason(
    "RedisAnswers", "Broker Reachable=True", "The last poll succeeded, or only the very last failed."
)
SCHEDULER_ACTIVE = _reason(
    "SchedulerActive", "Broker, PeriodicTask SchedulerReady=True", "A scheduler holds the lease and enqueues ticks."
)
SCHEDULER_STARTING = _reason(
    "SchedulerStarting",
    "Broker, PeriodicTask SchedulerReady=False",
    "No scheduler is active yet, and its Deployment is on the way.",
)
SCHEDULER_NOT_ACTIVE = _reason(
    "SchedulerNotActive",
    "Broker Ready=False; Broker, PeriodicTask SchedulerReady=False",
    "Its pods are ready, or none is wanted, and yet no scheduler holds the lease: no tick is enqueued.",
    "See the scheduler's logs; with scheduler.replicas 0, start one elsewhere.",
)
NO_PERIODIC_TASKS = _reason(
    "NoPeriodicTasks", "Broker SchedulerReady=True", "No PeriodicTask refers to the Broker, so no scheduler runs."
)
STILL_USED = _reason(
    "StillUsed",
    "Broker InUse=True",
    "The Broker is being deleted, and objects refer to it. It goes within seconds of the last of them.",
    "Delete the objects that the message names, or let them refer to another Broker.",
)

# -- Queue -------------------------------------------------------------------------------------------------------------

CONFLICT = _reason(
    "Conflict",
    "Queue Ready=False",
    "Another, older Queue object stands for the same queue of the same Broker.",
    "Delete one of the two.",
)
WRONG_TYPE = _reason(
    "WrongType",
    "Queue Ready=False; WorkerPool ScalingActive=False; Queue Deleting=True",
    "A key of the queue holds another Redis type than Asynq's: its depth is unknown. Its pools do not shrink.",
    "Find out who wrote the key that the message names, and delete or rename it.",
)
WRITE_REFUSED = _reason(
    "WriteRefused",
    "Queue Ready=False; Broker Ready=False; PeriodicTask Ready=False",
    "Redis is read, but does not take what has to be written: a pause, an archive's limits, a removal, or periodic "
    "entries. It is tried again every other second.",
    "The message has Redis' own words: give it memory, make it a master again, or give the user the right that is "
    "named.",
)
PAUSED_BY_HAND = _reason(
    "PausedByHand",
    "Queue Paused=True",
    "Asynq's pause key is set, and the spec says nothing about it.",
)
NO_OBJECTIVE = _reason("NoObjective", "Queue LatencyHigh=False", "The spec gives no maxLatency.")
WITHIN_OBJECTIVE = _reason(
    "WithinObjective",
    "Queue LatencyHigh=False",
    "The oldest waiting task has waited no longer than maxLatency (after an excess: than nine tenths of it).",
)
BEYOND_OBJECTIVE = _reason(
    "BeyondObjective",
    "Queue LatencyHigh=True",
    "The oldest waiting task has waited longer than maxLatency.",
    "Raise maxReplicas or the concurrency of the pools that serve the queue, or look for slow tasks.",
)
PAUSE_RESTORED = _reason(
    "PauseRestored",
    "Event",
    "Someone paused or resumed the queue by hand, against the spec's paused, and the operator has put it back.",
    "Change spec.paused instead, or remove it to leave pausing to people.",
)

ARCHIVE_TRIMMED = _reason(
    "ArchiveTrimmed",
    "Event",
    "Archived tasks were deleted for being beyond spec.archive; told at most every ten minutes.",
    "Raise archive.maxTasks or archive.maxAge if they should be kept longer.",
)
NOT_EMPTY = _reason(
    "NotEmpty",
    "Queue Deleting=True",
    "The Queue is being deleted with deletionPolicy DeleteIfEmpty, and its queue has tasks; the message counts them.",
    "Let workers finish them and delete the archived ones; or set deletionPolicy to Delete, or to Retain to keep them.",
)
TASKS_IN_FLIGHT = _reason(
    "TasksInFlight",
    "Queue Deleting=True",
    "All other tasks are deleted; those that are running, or being aggregated, end first.",
    "Wait. Tasks of a worker that died end only where a worker serves the queue. Retain as deletionPolicy gives up.",
)
REMOVING = _reason("Removing", "Queue Deleting=True", "The queue and its tasks are being removed from Redis.")
QUEUE_REMOVED = _reason("QueueRemoved", "Event", "The queue was removed from Redis, as deletionPolicy says.")
QUEUE_KEPT = _reason(
    "QueueKept",
    "Event",
    "The Queue is deleted and its queue stays in Redis, whatever its deletionPolicy: its Broker is gone, or another "
    "Queue stands for it.",
    "Remove it by hand (`Inspector.remove_queue`, `asynq queue rm`) if nobody needs it.",
)

# -- WorkerPool --------------------------------------------------------------------------------------------------------

WORKERS_READY = _reason("WorkersReady", "WorkerPool Ready=True", "At least one worker is ready and none is failing.")
SCALED_TO_ZERO = _reason("ScaledToZero", "WorkerPool Ready=True", "No worker is wanted now.")
WORKERS_STARTING = _reason("WorkersStarting", "WorkerPool Ready=False", "Workers are wanted and none is ready yet.")
WORKERS_FAILING = _reason(
    "WorkersFailing",
    "WorkerPool Ready=False",
    "Pods cannot be made, cannot start or end again and again. It stays until every wanted worker is ready.",
    "The message names Kubernetes' reason; `kubectl describe` and `kubectl logs` of the pods tell more.",
)
DISRUPTION_BUDGET_REFUSED = _reason(
    "DisruptionBudgetRefused",
    "WorkerPool Ready=False",
    "The API server does not take the pool's PodDisruptionBudget; the message is its own. The workers run without one.",
    "Most often a quota or a missing right of the operator; it is tried again every half minute.",
)
SCALING_UP = _reason("ScalingUp", "WorkerPool Progressing=True; Event", "Workers are being added.")
SCALING_DOWN = _reason(
    "ScalingDown", "WorkerPool Progressing=True; Event", "Workers are being removed, idle ones first."
)
ROLLING_OUT = _reason("RollingOut", "WorkerPool Progressing=True", "Workers of an older spec are being replaced.")
COMPLETE = _reason(
    "Complete", "WorkerPool Progressing=False", "All wanted workers are there, ready and of the latest spec."
)
STALLED = _reason(
    "Stalled",
    "WorkerPool Progressing=False",
    "The Deployment has made no progress for five minutes.",
    "See Ready and the pods.",
)
FOLLOWING_BACKLOG = _reason("FollowingBacklog", "WorkerPool ScalingActive=True", "The count follows the backlog.")
AUTOSCALING_OFF = _reason(
    "AutoscalingOff", "WorkerPool ScalingActive=False", "The spec has no autoscaling; replicas is the count."
)
AUTOSCALING_PAUSED = _reason("AutoscalingPaused", "WorkerPool ScalingActive=False", "autoscaling.paused is true.")
DRY_RUN = _reason(
    "DryRun",
    "WorkerPool ScalingActive=False",
    "autoscaling.dryRun is true: status.decision says what would be done, and the count is left to others.",
)
NO_FALLBACK = _reason(
    "NoFallback",
    "WorkerPool Fallback=False",
    "The Broker can be read or has not failed afterFailures times yet, fallback.behavior is Hold, or autoscaling is "
    "off or paused.",
)
FALLBACK_STATIC = _reason(
    "FallbackStatic",
    "WorkerPool Fallback=True",
    "The Broker has not been readable for afterFailures polls, and the count is fallback.replicas.",
    "See the Broker's Reachable condition for Redis' own reason.",
)
FALLBACK_CURRENT_IF_HIGHER = _reason(
    "FallbackCurrentIfHigher",
    "WorkerPool Fallback=True",
    "The Broker has not been readable for afterFailures polls, and the count is at least fallback.replicas.",
    "See the Broker's Reachable condition for Redis' own reason.",
)
NOT_LIMITED = _reason("NotLimited", "WorkerPool ScalingLimited=False", "The count is what the backlog asks for.")
MAX_REPLICAS = _reason(
    "MaxReplicas",
    "WorkerPool ScalingLimited=True",
    "The backlog asks for more workers than maxReplicas.",
    "Raise maxReplicas if the backlog should be worked off faster.",
)
STEP_LIMITED = _reason(
    "StepLimited",
    "WorkerPool ScalingLimited=True",
    "The next step is as large as scaleUp's or scaleDown's maxStep allows.",
)
EDIT_UNDONE = _reason(
    "EditUndone",
    "Event",
    "Someone edited fields of a Deployment or a PodDisruptionBudget that the operator owns, and it has put them back.",
    "Change the WorkerPool or the Broker instead. Labels and annotations of others stay.",
)

# -- PeriodicTask ------------------------------------------------------------------------------------------------------

INVALID_SCHEDULE = _reason(
    "InvalidSchedule",
    "PeriodicTask, WorkerPool Ready=False",
    "The schedule cannot be understood; the message is the parser's. No tick runs, no window opens; all others go on.",
    "Correct the schedule: spec.schedule, or the pool's cron in autoscaling.schedules.",
)
INVALID_TIME_ZONE = _reason(
    "InvalidTimeZone",
    "PeriodicTask, WorkerPool Ready=False",
    "The time zone is unknown. No tick runs, no window opens; all others go on.",
    "Correct timeZone, or the schedule's prefix.",
)
INVALID_TASK = _reason(
    "InvalidTask",
    "PeriodicTask Ready=False",
    "The task cannot be enqueued as it is, because of its payload for instance. No tick runs.",
    "Correct the field of spec.task that the message names.",
)
NEVER_FIRES = _reason(
    "NeverFires",
    "PeriodicTask Ready=False",
    "The schedule names no date within the next five years, such as 30 February.",
    "Correct spec.schedule.",
)
TICKS_REFUSED = _reason(
    "TicksRefused",
    "PeriodicTask Ready=False",
    "The active scheduler cannot carry out the ticks; the message is its own. It tries again until startingDeadline.",
    "See the message: most often a key of the queue holds another Redis type.",
)
NOT_HANDED_OVER = _reason(
    "NotHandedOver",
    "PeriodicTask Ready=False",
    "The entry has not been written to Redis yet. It takes about a second.",
)
NOT_SUSPENDED = _reason("NotSuspended", "PeriodicTask Suspended=False", "suspend is false.")
SUSPENDED_BY_SPEC = _reason("SuspendedBySpec", "PeriodicTask Suspended=True", "suspend is true: no tick is enqueued.")

# What belongs to the ordinary life of an object: its Event is no warning, whatever the status of the condition.
ORDINARY = frozenset({WORKERS_STARTING, SCHEDULER_STARTING, NOT_HANDED_OVER})
