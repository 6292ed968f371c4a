"""A PeriodicTask as the entry that a scheduler reads, or the reason why it can be none."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime

from longshore.errors import InvalidOption
from longshore.policy.periodic import Schedule
from longshore.protocol.periodic import PeriodicEntry, PeriodicTaskTemplate
from longshore_operator.api import reasons
from longshore_operator.api.periodic_task import PeriodicTask, TaskTemplate

MAX_PAYLOAD = 16 * 1024  # bytes


class EntryProblem(Exception):
    """Why a PeriodicTask cannot become an entry."""

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # one of api.reasons
        self.message = message


def parse_schedule(task: PeriodicTask) -> Schedule:
    """Raises EntryProblem with the parser's own reason."""
    try:
        return Schedule.parse(task.spec.schedule, task.spec.time_zone)
    except InvalidOption as error:
        if error.field == "timeZone" or error.problem.startswith("unknown time zone"):
            raise EntryProblem(
                reason=reasons.INVALID_TIME_ZONE, message=f"spec.{error.field}: {error.problem}"
            ) from error
        raise EntryProblem(reason=reasons.INVALID_SCHEDULE, message=f"spec.schedule: {error.problem}") from error


def periodic_entry(task: PeriodicTask, *, since: datetime) -> PeriodicEntry:
    """The entry of a PeriodicTask. Raises EntryProblem when it cannot be one."""
    parse_schedule(task)
    spec = task.spec
    return PeriodicEntry(
        schedule=spec.schedule,
        time_zone=spec.time_zone,
        since=since.replace(microsecond=0),
        suspend=spec.suspend,
        starting_deadline=spec.starting_deadline,
        catch_up=spec.catch_up,
        overlap=spec.overlap,
        jitter=spec.jitter,
        task=PeriodicTaskTemplate(
            type=spec.task.type,
            payload=_payload(spec.task),
            queue=spec.task.queue,
            max_retry=spec.task.max_retry,
            timeout=spec.task.timeout,
            retention=spec.task.retention,
            unique_for=spec.task.unique_for,
            headers=dict(spec.task.headers or {}),
        ),
    )


def _payload(task: TaskTemplate) -> bytes:
    if task.payload is not None:
        payload = json.dumps(task.payload, separators=(",", ":"), ensure_ascii=False).encode()
        field = "payload"
    else:
        field = "payloadBase64"
        try:
            payload = base64.b64decode(task.payload_base64 or "", validate=True)
        except binascii.Error as error:
            raise EntryProblem(
                reason=reasons.INVALID_TASK, message=f"spec.task.payloadBase64: not standard base64: {error}"
            ) from error
    if len(payload) > MAX_PAYLOAD:
        message = (
            f"spec.task.{field}: {len(payload)} bytes, at most {MAX_PAYLOAD} are allowed; store the data elsewhere."
        )
        raise EntryProblem(reason=reasons.INVALID_TASK, message=message)
    return payload
