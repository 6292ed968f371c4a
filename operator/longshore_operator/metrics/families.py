"""Every metric of the operator, as one table: the page docs/reference/metrics.md is made of it.

Besides these, ``/metrics`` has the queues of all Brokers under the names of Asynq's exporter
(:mod:`longshore.metrics.queues`), and what prometheus_client tells of any process (``process_…``, ``python_info``).
"""

from __future__ import annotations

from longshore.metrics.family import Family

BROKER_LABELS = ("namespace", "broker")  # whose queue it is, before Asynq's own labels
_POOL_LABELS = ("namespace", "pool")
_TASK_LABELS = ("namespace", "task")


def _gauge(name: str, help: str, *labels: str) -> Family:  # noqa: A002
    return Family(name=f"longshore_operator_{name}", type="gauge", help=help, labels=labels)


def _counter(name: str, help: str, *labels: str) -> Family:  # noqa: A002
    return Family(name=f"longshore_operator_{name}_total", type="counter", help=help, labels=labels)


def _histogram(name: str, help: str, *labels: str) -> Family:  # noqa: A002
    return Family(name=f"longshore_operator_{name}_seconds", type="histogram", help=help, labels=labels)


# -- of every replica --------------------------------------------------------------------------------------------------

BUILD_INFO = _gauge("build_info", "1, with the version as a label.", "version")
LEADER = _gauge("leader", "1 in the replica that leads, 0 in one that stands by.")
API_REQUESTS = _counter(
    "api_requests",
    "Requests to the API server, without watches. code: HTTP status, or none when no answer came.",
    "verb",
    "resource",
    "code",
)
API_DURATION = _histogram("api_request_duration", "From the sending of a request to its answer.", "verb")
API_THROTTLED = _counter("api_throttled_requests", "Requests that waited for their turn, to spare the API server.")
API_THROTTLED_SECONDS = _counter("api_throttled_seconds", "How long they waited, together.")

# -- of the leader: its work -------------------------------------------------------------------------------------------

WATCH_SILENT = _gauge(
    "watch_silent_seconds",
    "Since the API server last sent a byte on a watch; it sends one a minute at least.",
    "watch",
)
WATCHES_OPENED = _counter("watches_opened", "Watches that were begun, or begun again.", "watch")
RECONCILE_DURATION = _histogram("reconcile_duration", "One look at one object, with what it needed.", "kind")
RECONCILE_ERRORS = _counter(
    "reconcile_errors",
    "Looks that failed and are repeated. error: Conflict (somebody else wrote meanwhile), Refused (by the API "
    "server), Timeout or Defect.",
    "kind",
    "error",
)
WORK_QUEUE_DEPTH = _gauge("work_queue_depth", "Objects that wait to be looked at.")
WORK_QUEUE_ACTIVE = _gauge("work_queue_active", "Objects that are being looked at.")
FAILING_OBJECTS = _gauge("failing_objects", "Objects whose last look failed.")
ACTIONS = _counter("actions", "What was done to the cluster and to Redis, by the kind of action.", "action")
STATUS_WRITES = _counter("status_writes", "Writes of an object's status.", "kind")
STATUS_DEFERRED = _counter("status_writes_deferred", "Writes that were put off to keep within their budgets.", "kind")
EVENTS = _counter(
    "events",
    "Kubernetes Events. outcome: Posted, Counted (an earlier one was raised), Dropped (too many) or Failed.",
    "outcome",
)
EVENTS_WAITING = _gauge("events_waiting", "Events that wait to be posted.")
DECISIONS = _counter(
    "decisions",
    "New replica counts of pools. direction: up or down; reason: that of ScalingLimited, NotLimited for most.",
    "direction",
    "reason",
)

# -- of the leader: objects --------------------------------------------------------------------------------------------

OBJECTS = _gauge("objects", "Objects that the operator knows.", "kind")
CONDITION = _gauge(
    "condition",
    "A condition that tells whether an object is well: 1 is True, 0 is False.",
    "kind",
    "namespace",
    "name",
    "type",
)
BROKER_REACHABLE = _gauge("broker_reachable", "1 when the last poll of the Broker's Redis succeeded.", *BROKER_LABELS)
BROKER_POLL_AGE = _gauge("broker_poll_age_seconds", "Since the last poll that succeeded.", *BROKER_LABELS)
BROKER_POLL_DURATION = _histogram("broker_poll_duration", "Polls that succeeded.", *BROKER_LABELS)
BROKER_POLL_FAILURES = _counter("broker_poll_failures", "Polls that failed.", *BROKER_LABELS)
BROKER_LATENCY = _gauge(
    "broker_redis_latency_seconds", "The first round trip of the last poll, with the server's work.", *BROKER_LABELS
)
BROKER_SERVERS = _gauge("broker_servers", "Worker processes that live, ours and Go's.", *BROKER_LABELS)
POOL_REPLICAS = _gauge("pool_replicas", "Pods there are.", *_POOL_LABELS)
POOL_READY = _gauge("pool_ready_replicas", "Pods that are ready.", *_POOL_LABELS)
POOL_DESIRED = _gauge("pool_desired_replicas", "The decided count.", *_POOL_LABELS)
POOL_BUSY = _gauge("pool_busy_replicas", "Pods that run a task.", *_POOL_LABELS)
POOL_BACKLOG = _gauge("pool_backlog_tasks", "The pool's share of the tasks that wait.", *_POOL_LABELS)
POOL_THROUGHPUT = _gauge(
    "pool_throughput_per_replica", "Tasks a second that one replica was measured to finish.", *_POOL_LABELS
)
POOL_MIN = _gauge("pool_min_replicas", "minReplicas, of pools that are scaled.", *_POOL_LABELS)
POOL_MAX = _gauge("pool_max_replicas", "maxReplicas, of pools that are scaled.", *_POOL_LABELS)
QUEUE_OBJECTIVE = _gauge("queue_max_latency_seconds", "maxLatency, of Queues that have one.", *BROKER_LABELS, "queue")
TASK_MISSED = _counter("periodic_task_missed_ticks", "Ticks that were too late to run.", *_TASK_LABELS)
TASK_SKIPPED = _counter("periodic_task_skipped_ticks", "Ticks not enqueued, as the spec wants.", *_TASK_LABELS)
TASK_LAST_TICK = _gauge("periodic_task_last_tick_timestamp_seconds", "The last tick, in Unix time.", *_TASK_LABELS)
TASK_NEXT_TICK = _gauge("periodic_task_next_tick_timestamp_seconds", "The next tick, in Unix time.", *_TASK_LABELS)

REPLICA_FAMILIES = (BUILD_INFO, LEADER, API_REQUESTS, API_DURATION, API_THROTTLED, API_THROTTLED_SECONDS)
WORK_FAMILIES = (
    WATCH_SILENT,
    WATCHES_OPENED,
    RECONCILE_DURATION,
    RECONCILE_ERRORS,
    WORK_QUEUE_DEPTH,
    WORK_QUEUE_ACTIVE,
    FAILING_OBJECTS,
    ACTIONS,
    STATUS_WRITES,
    STATUS_DEFERRED,
    EVENTS,
    EVENTS_WAITING,
    DECISIONS,
)
OBJECT_FAMILIES = (
    OBJECTS,
    CONDITION,
    BROKER_REACHABLE,
    BROKER_POLL_AGE,
    BROKER_POLL_DURATION,
    BROKER_POLL_FAILURES,
    BROKER_LATENCY,
    BROKER_SERVERS,
    POOL_REPLICAS,
    POOL_READY,
    POOL_DESIRED,
    POOL_BUSY,
    POOL_BACKLOG,
    POOL_THROUGHPUT,
    POOL_MIN,
    POOL_MAX,
    QUEUE_OBJECTIVE,
    TASK_MISSED,
    TASK_SKIPPED,
    TASK_LAST_TICK,
    TASK_NEXT_TICK,
)
