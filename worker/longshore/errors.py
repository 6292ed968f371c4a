"""Every error that the runtime raises on purpose.

LongshoreError
├── UsageError               the caller's mistake: fix the call, do not repeat it
│   ├── InvalidOption            a task option, queue name or setting that cannot be used
│   ├── HandlerNotFound          no handler is registered for a task's type
│   ├── WrongState               the task's state does not allow the operation
│   └── QueueNotEmpty            a queue with tasks cannot be removed
├── EnqueueError             Redis was reached and refused the task
│   ├── DuplicateTask            the unique lock of this type and payload is held
│   └── TaskIDConflict           a task of that id exists in the queue
├── NotFound                 a queue or task that is not there
│   ├── QueueNotFound
│   └── TaskNotFound
├── TaskFailed               a task that was waited for is in the archive
├── InvalidData              a peer's bytes in Redis cannot be read
│   └── WrongType                a key holds another Redis type than the protocol's
├── BrokerUnavailable        Redis cannot be reached or does not answer in time; repeat later
├── ProcessError             a handler in a process of its own could not be run to its end
│   ├── ProcessDied              the process ended before the handler
│   └── ForeignError             what the handler raised cannot leave its process; its text can
├── Interrupted              an attempt was ended from outside; told to policies and error callbacks
│   ├── DeadlineExceeded         its timeout or deadline passed
│   ├── TaskCancelled            somebody cancelled the task
│   └── LeaseExpired             its worker died, or lost Redis for too long
└── HandlerSignal            raised by handlers to say what shall become of the task
    ├── SkipRetry                archive it now
    │   └── PayloadError             the payload does not fit the handler's parameter
    ├── RetryLater               attempt it again after so long, perhaps without using up a retry
    └── RevokeTask               drop it now, as if it had succeeded
"""

from __future__ import annotations

from datetime import timedelta


class LongshoreError(Exception):
    """The root of the tree."""


class UsageError(LongshoreError):
    """The caller's mistake; the message names the field and the fix."""


class InvalidOption(UsageError, ValueError):
    """An option that cannot be used."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class HandlerNotFound(UsageError, LookupError):
    """No handler for a task type. Asynq treats it as an ordinary failure: the task is retried."""

    def __init__(self, task_type: str) -> None:
        super().__init__(f"handler not found for task {task_type!r}")
        self.task_type = task_type


class WrongState(UsageError):
    """The task's state does not allow the operation, such as deleting a task that runs."""

    def __init__(self, queue: str, task_id: str, state: str, operation: str) -> None:
        super().__init__(f"task {task_id!r} of queue {queue!r} is {state}: cannot {operation} it")
        self.queue = queue
        self.task_id = task_id
        self.state = state


class QueueNotEmpty(UsageError):
    """A queue that cannot be removed because of its tasks."""

    def __init__(self, queue: str, problem: str) -> None:
        super().__init__(f"queue {queue!r} {problem}")
        self.queue = queue
        self.problem = problem


class EnqueueError(LongshoreError):
    """Redis was reached and the task was not created."""

    def __init__(self, message: str, *, queue: str, task_id: str) -> None:
        super().__init__(message)
        self.queue = queue
        self.task_id = task_id


class DuplicateTask(EnqueueError):
    """A task of the same type, payload and queue holds the unique lock."""


class TaskIDConflict(EnqueueError):
    """A task of the same id exists in the queue, in whatever state."""


class NotFound(LongshoreError, LookupError):
    """A queue or task that is not there."""


class QueueNotFound(NotFound):
    """No queue of that name is registered in Redis."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r} does not exist")
        self.queue = queue


class TaskNotFound(NotFound):
    """The queue has no task of that id."""

    def __init__(self, queue: str, task_id: str) -> None:
        super().__init__(f"queue {queue!r} has no task {task_id!r}")
        self.queue = queue
        self.task_id = task_id


class TaskFailed(LongshoreError):
    """A task that was waited for will not be tried again: it is in the archive."""

    def __init__(self, queue: str, task_id: str, *, error: str | None, retried: int) -> None:
        super().__init__(f"task {task_id!r} of queue {queue!r} failed: {error or 'no error is recorded'}")
        self.queue = queue
        self.task_id = task_id
        self.error = error  # text of the last failure; None when it was put there by hand
        self.retried = retried  # failed attempts before the last


class InvalidData(LongshoreError):
    """Bytes in Redis that the protocol cannot read."""


class WrongType(InvalidData):
    """A key holds another Redis type than the protocol's."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


class BrokerUnavailable(LongshoreError):
    """Redis cannot be reached, refuses the credentials, or does not answer in time."""

    refused = False  # Redis was reached and will not have this user do that: trying again at once changes nothing


class ProcessError(LongshoreError):
    """A handler in a process of its own could not be run to its end. An ordinary failure: the task is retried."""


class ProcessDied(ProcessError):
    """The process of a handler ended before the handler: killed, out of memory, or by os._exit."""


class ForeignError(ProcessError):
    """Stands for an error of a handler's own process that cannot be pickled; its text begins with the error's type."""


class Interrupted(LongshoreError):
    """An attempt was ended from outside. The texts are Asynq's own: people search for them in asynqmon."""


class DeadlineExceeded(Interrupted):
    """The attempt's timeout or the task's deadline passed. Its context is what the handler made of it, if it did."""

    def __init__(self, message: str = "context deadline exceeded") -> None:
        super().__init__(message)


class TaskCancelled(Interrupted):
    """Somebody cancelled the task while it ran. Its context is what the handler made of it, if it did."""

    def __init__(self, message: str = "context canceled") -> None:
        super().__init__(message)


class LeaseExpired(Interrupted):
    """The worker died, or could not extend its lease; another one found the task."""

    def __init__(self, message: str = "asynq: task lease expired") -> None:
        super().__init__(message)


class HandlerSignal(LongshoreError):
    """Raised by a handler (or on its behalf) to say what shall become of the task."""


class SkipRetry(HandlerSignal):
    """Archive the task now, whatever retries are left (Asynq's SkipRetry)."""

    def __init__(self, message: str = "skip retry for the task") -> None:
        super().__init__(message)


class PayloadError(SkipRetry):
    """The payload does not fit the handler's parameter. A retry would meet the same bytes, so the task is archived."""


class RetryLater(HandlerSignal):
    """Attempt the task again after a wait of the handler's choice, as when a service says how long it is busy."""

    def __init__(
        self, message: str = "retry later", *, after: timedelta | float | None = None, counts: bool = True
    ) -> None:
        """``after``: timedelta or seconds; None: Asynq's default delay. ``counts``: see RetryDecision.retry."""
        super().__init__(message)
        try:
            self.after = after if after is None or isinstance(after, timedelta) else timedelta(seconds=after)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidOption("after", f"is {after!r}; give a timedelta or seconds") from error
        self.counts = counts


class RevokeTask(HandlerSignal):
    """Drop the task now: no retry, not kept, not counted as failed (Asynq's RevokeTask)."""

    def __init__(self, message: str = "revoke task") -> None:
        super().__init__(message)
