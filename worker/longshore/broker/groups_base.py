"""What an aggregator needs of Redis beside :class:`longshore.broker.base.Broker`: groups and aggregation sets.

Every method raises :class:`longshore.errors.BrokerUnavailable` when Redis cannot be reached or does not answer in time.
Whether a write happened is then unknown, and repeating is safe: each says what to make of its second answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from longshore.broker.base import NewTask, Unreadable
from longshore.protocol.messages import TaskMessage


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupState:
    """A group that has members."""

    name: str
    size: int  # ≥ 1
    first_id: bytes  # the member that joined first; when it is another one, somebody has taken the group
    first_joined_at: datetime  # whole second
    last_joined_at: datetime  # whole second


@dataclass(frozen=True, kw_only=True, slots=True)
class SetName:
    """Which aggregation set."""

    queue: str
    group: str
    set_id: str  # random; without a colon


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupPage:
    """Some of a queue's groups."""

    groups: tuple[GroupState, ...]
    strangers: tuple[str, ...]  # listed names under whose key there is no group
    expired: tuple[SetName, ...]  # sets whose time is over; at most 100
    cursor: str | None  # where the next page begins; None: there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenSet:
    """What became of an attempt to take a group."""

    size: int  # members moved into the set; 0: somebody else was faster, and there is no set
    left: GroupState | None  # the group as it is now; None: it is empty


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A task in an aggregation set."""

    message: TaskMessage
    joined_at: datetime  # whole second


@dataclass(frozen=True, kw_only=True, slots=True)
class SetContent:
    """An aggregation set that was read. What could not be read has been set aside and is no longer in it."""

    members: tuple[Member, ...]  # those that joined first first
    unreadable: tuple[Unreadable, ...] = ()


class FinishResult(Enum):
    """What became of an attempt to finish a set."""

    FINISHED = 1
    ID_CONFLICT = 0  # another task has the new one's id; nothing was written
    DUPLICATE = -1  # another task holds the new one's unique lock; nothing was written
    NOT_OURS = -2  # finished already, or given back to the group; nothing was written


class GroupStore(Protocol):
    """A Redis that keeps groups."""

    async def look_for_groups(self, queues: Sequence[str]) -> Mapping[str, bool]:
        """For each queue whether there is a group, or an aggregation set, at all. One plain read a queue."""

    async def list_groups(self, queue: str, *, cursor: str | None, now: datetime) -> GroupPage:
        """One page of a queue's groups, some 500. ``cursor``: None, then what the last page says.

        Names of empty groups are taken off the list. A group that comes or goes meanwhile may be missed, one may be
        seen twice.
        """

    async def take(self, name: SetName, *, first_id: bytes, limit: int, until: datetime) -> TakenSet:
        """Move the ``limit`` (1 to 10,000) members that joined first into a new set, which is ours ``until`` then.

        Nothing happens when another member is the first by now.
        """

    async def read(self, name: SetName, *, now: datetime) -> SetContent:
        """All of a set's members, some at a time: not atomic, but nobody changes a set while it is ours."""

    async def finish(
        self, name: SetName, members: Sequence[TaskMessage], merged: NewTask | None, *, now: datetime
    ) -> FinishResult:
        """Delete a set with its members, free their locks, and create one task of the same queue in their place.

        One atomic step, so the members are aggregated exactly once. After BrokerUnavailable, NOT_OURS means most likely
        that it had happened. Registers the queue.
        """

    async def archive(self, name: SetName, messages: Sequence[TaskMessage], *, now: datetime) -> None:
        """Move members from their set to the archive, with these contents. The set itself stays, to be finished."""

    async def hold(self, name: SetName, *, until: datetime) -> None:
        """Leave a set as it is until then; it goes back to its group afterwards. Nothing when it is not ours."""

    async def give_back(self, name: SetName) -> None:
        """Give a set back to its group now. Nothing when it is not ours."""

    async def expired_sets(self, queue: str, *, now: datetime) -> tuple[SetName, ...]:
        """Sets whose time is over, at most 100."""

    async def reclaim(self, name: SetName, *, now: datetime) -> bool:
        """Give a set whose time is over back to its group, a thousand members a step. False: nothing to give back."""
