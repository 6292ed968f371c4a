"""What a Broker's last polls mean for the objects that depend on them."""

from __future__ import annotations

from longshore.protocol.snapshots import BrokerSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.broker import Broker
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.observed import BrokerReading
from longshore_operator.plan.timestamps import format_time

# One failed poll holds every count, but is not yet worth a word about each object: a lost packet or a Redis that forks
# for a snapshot passes by itself.
_FAILURES_TO_TELL = 2


def current_snapshot(reading: BrokerReading) -> BrokerSnapshot | None:
    """The last poll if it succeeded. Redis errors are not decisions: without one, nothing may be concluded."""
    return reading.snapshot if reading.error is None else None


def not_read_yet(reading: BrokerReading) -> bool:
    """Whether the operator has not polled the Broker since it started: then nothing is known, not even a problem."""
    return reading.snapshot is None and reading.error is None


def unreachable(reading: BrokerReading) -> bool:
    """Whether the Broker counts as unreachable."""
    return reading.error is not None and (reading.failures >= _FAILURES_TO_TELL or reading.snapshot is None)


def not_found(type_: str, name: str) -> Condition:
    """For an object whose Broker is not there."""
    return Condition(
        type=type_,
        status=False,
        reason=reasons.BROKER_NOT_FOUND,
        message=f"Broker {name} is not in this namespace; create it, or correct spec.brokerRef.",
    )


def reading_problem(type_: str, broker: Broker, reading: BrokerReading) -> Condition | None:
    """For an object that depends on Redis: why nothing can be said of it now. None when the Broker is read."""
    if unreachable(reading):
        since = f" since {format_time(reading.failing_since)}" if reading.failing_since else ""
        return Condition(
            type=type_,
            status=False,
            reason=reasons.BROKER_UNREACHABLE,
            message=f"Broker {broker.name} cannot be read{since}; see its Reachable condition.",
        )
    return None
