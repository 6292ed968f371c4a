"""A Redis Cluster: each command to the master that has its key's slot, wherever the slots move."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from redis import exceptions

from longshore.broker.connection import Command, NotReached, RedisConnection
from longshore.broker.guarded import guarded
from longshore.broker.node import RedisNode
from longshore.broker.redis_url import Endpoint, RedisTarget, address_of
from longshore.broker.refusals import is_not_master, redirection
from longshore.broker.relook import Relook
from longshore.broker.slots import SLOTS, slot_of, slot_of_key
from longshore.errors import BrokerUnavailable

# How long one node may take to tell where the slots are, before the next is asked. Of a call's time it is a third at
# most: the second one must have its turn, and then the call itself.
_MOST_FOR_AN_ANSWER = timedelta(seconds=1)
_PART_FOR_AN_ANSWER = 3

# A slot that moves, or about which the nodes do not agree, is asked for again after so many seconds, doubling from the
# first.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.25


class ClusterConnection(RedisConnection):
    """Sends each command to the node that has its slot, those of several nodes side by side.

    MOVED and ASK are followed. The map of the slots is read anew when a node is not reached, is lost, does not answer
    in time or is no master any more; what still waits on a node that then has no slots fails, to be tried again.

    While a slot moves between two nodes, its keys lie on both, and a script could fail half-way at a key it computes.
    Hence each script gets one more key that never exists (see :mod:`longshore.broker.guarded`): Redis then refuses it
    as a whole with TRYAGAIN, and the call waits, within its time limit, until the slot has moved.
    """

    def __init__(self, target: RedisTarget, *, timeout: timedelta) -> None:
        self.address = target.address
        self.database = 0
        self._target = target
        self._timeout = timeout
        self._seconds = timeout.total_seconds()
        self._masters: dict[Endpoint, RedisNode] = {}
        self._owners: list[RedisNode | None] = [None] * SLOTS
        self._silent: set[str] = set()  # addresses of nodes that did not answer since the last look
        self._relook = Relook(self._look)
        self._closed = False

    async def run_in_stages(self, stages: Sequence[Sequence[Command]]) -> list[Any]:
        return [reply for stage in stages for reply in await self.run(stage)]

    async def ping(self) -> None:
        """Every master is asked: a cluster is no better than the worst of them."""
        await self._settled()
        try:
            await asyncio.gather(*(node.ping() for node in self._masters.values()))
        except BrokerUnavailable:
            self._relook.doubt()
            raise

    async def run_where_reached(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._try(_Call([guarded(command) for command in commands], partly=True))
        for index, reply in enumerate(replies):
            if isinstance(reply, exceptions.RedisError):
                try:
                    replies[index] = error = await self._explain(commands[index], reply)
                except BrokerUnavailable as unexplained:
                    replies[index] = error = unexplained
                if isinstance(error, BrokerUnavailable) and error.refused:
                    raise error  # no server has gone: the user lacks a right, here as elsewhere
        return replies

    async def try_run(self, commands: Sequence[Command]) -> list[Any]:
        return await self._try(_Call([guarded(command) for command in commands])) if commands else []

    async def _try(self, call: _Call) -> list[Any]:
        try:
            async with asyncio.timeout(self._seconds):
                await self._carry_out(call)
        except TimeoutError as error:
            self._relook.doubt()
            for node in call.waiting_for:
                self._silent.add(node.address)
                await node.forget_idle()
            where = ",".join(sorted(node.address for node in call.waiting_for)) or self.address
            problem = f"Redis at {where} does not answer within {self._seconds:g} s"
            unavailable = BrokerUnavailable(call.refusal or problem)
            if not call.partly:
                raise unavailable from error
            call.give_up(unavailable)
        return call.replies

    async def block(self, command: Command, *, wait: timedelta) -> Any:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait.total_seconds()
        slot = slot_of(command)
        assert slot is not None
        redirections = 0
        while True:
            await self._settled()
            node = self._owner_of(slot)
            try:
                reply = await node.try_block(command, wait=wait)
            except BrokerUnavailable:
                self._relook.doubt()
                raise
            if not isinstance(reply, exceptions.RedisError):
                return reply
            if not self._is_elsewhere(reply, node):
                raise await self._explain(command, reply)
            if loop.time() >= end:
                return None  # the slot is on the move: as if the time were over
            if redirections > 0 or not isinstance(reply, exceptions.MovedError):
                await asyncio.sleep(_pause_s(redirections))
            redirections += 1

    async def messages(
        self, channels: Sequence[str], *, idle: timedelta
    ) -> AsyncGenerator[tuple[str, bytes | BrokerUnavailable | None], None]:
        # A node passes on what any other was told to publish. One that has a channel's slot also counts its listeners.
        await self._settled()
        node = self._owner_of(slot_of_key(channels[0]))
        try:
            async with aclosing(node.messages(channels, idle=idle)) as messages:
                async for message in messages:
                    yield message
        except BrokerUnavailable:
            self._relook.doubt()
            raise

    @property
    def closed(self) -> bool:
        return self._closed

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.gather(*(node.aclose() for node in [*self._masters.values()]))

    # -- sending -------------------------------------------------------------------------------------------------------

    async def _carry_out(self, call: _Call) -> None:
        unreached: set[RedisNode] = set()
        left: dict[int, RedisNode | None] = dict.fromkeys(range(len(call.commands)))
        for number in itertools.count():
            await self._settled()
            portions = self._portions(call, left, unreached)
            call.waiting_for = set(portions)
            results = await _gathered([self._send(node, some, call) for node, some in portions.items()])
            call.waiting_for = set()
            failure: BrokerUnavailable | None = None
            left, patient = {}, number > 1
            for (node, some), result in zip(portions.items(), results, strict=True):
                if isinstance(result, NotReached) and node not in unreached:
                    # It has seen nothing of these. The slots may be another's by now.
                    unreached.add(node)
                    self._relook.doubt()
                    left |= dict.fromkeys(index for index, _ in some)
                elif isinstance(result, BrokerUnavailable):
                    self._relook.doubt()
                    self._silent.add(node.address)
                    failure = failure or result
                    for index, _ in some:
                        call.settle(index, result)
                else:
                    for (index, _), reply in zip(some, result, strict=True):
                        call.settle(index, reply)
                        if isinstance(reply, exceptions.RedisError) and self._is_elsewhere(reply, node):
                            call.refusal = f"Redis at {node.address}: {redirection(reply)}"
                            left[index] = self._asked(reply)
                            call.unsettled.add(index)
                            patient = patient or isinstance(reply, exceptions.TryAgainError)
            if failure is not None and not call.partly:
                raise failure
            if not left:
                return
            if patient:
                await asyncio.sleep(_pause_s(number))

    def _portions(
        self, call: _Call, left: Mapping[int, RedisNode | None], unreached: Collection[RedisNode]
    ) -> dict[RedisNode, list[tuple[int, bool]]]:
        """For each node the commands it gets, by number, and whether it is asked beyond its slots."""
        portions: dict[RedisNode, list[tuple[int, bool]]] = {}
        for index in sorted(left):
            asked = left[index]
            slot = slot_of(call.commands[index])
            try:
                node = asked or (self._any_but(unreached) if slot is None else self._owner_of(slot))
            except NotReached as error:
                if not call.partly:
                    raise
                call.settle(index, error)
                continue
            portions.setdefault(node, []).append((index, asked is not None))
        return portions

    async def _send(
        self, node: RedisNode, some: Sequence[tuple[int, bool]], call: _Call
    ) -> list[Any] | BrokerUnavailable:
        commands: list[Command] = []
        for index, beyond in some:
            commands += [("ASKING",), call.commands[index]] if beyond else [call.commands[index]]
        try:
            replies = iter(await node.try_run(commands))
        except BrokerUnavailable as error:
            return error
        results = []
        for index, beyond in some:
            if beyond:
                next(replies)
            results.append(next(replies))
            call.heard[index] = results[-1]
        return results

    # -- what nodes say about slots ------------------------------------------------------------------------------------

    def _is_elsewhere(self, reply: exceptions.RedisError, node: RedisNode) -> bool:
        """Whether the command must be sent again, and learn from the reply."""
        if isinstance(reply, exceptions.MovedError):
            self._owners[reply.slot_id] = self._node((reply.host or _host(node), reply.port))
            return True
        if isinstance(reply, (exceptions.AskError, exceptions.TryAgainError)):
            return True
        if is_not_master(reply) or isinstance(reply, exceptions.ClusterDownError):
            self._relook.doubt()
        reply.add_note(node.address)
        return False

    def _asked(self, reply: exceptions.RedisError) -> RedisNode | None:
        if isinstance(reply, exceptions.AskError) and not isinstance(reply, exceptions.MovedError):
            return self._node((reply.host, reply.port))
        return None

    # -- the map of the slots ------------------------------------------------------------------------------------------

    async def _settled(self) -> None:
        if self._closed:
            raise NotReached(f"Redis at {self.address}: the connection is closed")
        await self._relook.settle()

    def _owner_of(self, slot: int) -> RedisNode:
        owner = self._owners[slot]
        if owner is None:
            self._relook.doubt()
            raise NotReached(f"Redis at {self.address}: no node of the cluster has slot {slot}")
        return owner

    def _any_but(self, unreached: Collection[RedisNode]) -> RedisNode:
        """For a command without a key, which any node answers."""
        nodes = [*self._masters.values()]
        return next((node for node in nodes if node not in unreached), nodes[0])

    def _node(self, endpoint: Endpoint) -> RedisNode:
        if endpoint not in self._masters:
            self._masters[endpoint] = RedisNode(
                self._target.factory(endpoint), address_of(endpoint), timeout=self._timeout
            )
        return self._masters[endpoint]

    async def _look(self) -> None:
        """Read the map from the first node that tells it, and close the nodes that have no slots any more."""
        ranges = await self._read_map()
        old = self._masters
        self._masters, self._owners = {}, [None] * SLOTS
        for first, last, endpoint in ranges:
            if endpoint in old:
                self._masters[endpoint] = old.pop(endpoint)
            self._owners[first : last + 1] = [self._node(endpoint)] * (last + 1 - first)
        await asyncio.gather(*(node.aclose() for node in old.values()))

    async def _read_map(self) -> list[tuple[int, int, Endpoint]]:
        problems: list[str] = []
        endpoints = [*dict.fromkeys([*self._masters, *self._target.endpoints])]
        random.shuffle(endpoints)  # a thousand processes must not all ask the same one
        # Those that were just waited for in vain last: the caller's time runs meanwhile.
        endpoints.sort(key=lambda endpoint: address_of(endpoint) in self._silent)
        for endpoint in endpoints:
            try:
                ranges = await self._ask(endpoint)
                self._silent.clear()
                return ranges
            except BrokerUnavailable as error:
                self._silent.add(address_of(endpoint))
                problems.append(str(error))
        raise BrokerUnavailable(f"no node of the cluster tells its slots: {'; '.join(problems)}")

    async def _ask(self, endpoint: Endpoint) -> list[tuple[int, int, Endpoint]]:
        # On a connection of its own: it must not wait for its turn behind calls to a node that has stopped answering.
        node = RedisNode(
            self._target.factory(endpoint),
            address_of(endpoint),
            timeout=min(self._timeout / _PART_FOR_AN_ANSWER, _MOST_FOR_AN_ANSWER),
        )
        try:
            [ranges] = await node.run([("CLUSTER", "SLOTS")])
        finally:
            await node.aclose()
        if not ranges:
            raise BrokerUnavailable(f"Redis at {node.address} knows of no slots")
        # a node that does not know its own name leaves it empty, and means the one it was reached by
        return [
            (first, last, ((where[0] or b"").decode().strip("?") or endpoint[0], where[1]))
            for first, last, where, *_ in ranges
        ]


@dataclass
class _Call:
    """Commands on their way."""

    commands: Sequence[Command]
    partly: bool = False  # a node that is lost fails its own commands alone
    replies: list[Any] = field(init=False)
    unsettled: set[int] = field(init=False)  # the numbers of those whose reply is not the last word
    heard: dict[int, Any] = field(default_factory=dict)  # what came, while other nodes are still waited for
    waiting_for: set[RedisNode] = field(default_factory=set)
    refusal: str = ""  # why some were not carried out yet

    def __post_init__(self) -> None:
        self.replies = [None] * len(self.commands)
        self.unsettled = {*range(len(self.commands))}

    def settle(self, index: int, reply: Any) -> None:
        """The reply of a command, until it is sent again."""
        self.replies[index] = reply
        self.unsettled.discard(index)

    def give_up(self, problem: BrokerUnavailable) -> None:
        """The time is over: what came from some nodes counts, and the rest has failed."""
        for index in [*self.unsettled]:
            heard = self.heard.get(index, problem)
            elsewhere = isinstance(heard, (exceptions.AskError, exceptions.TryAgainError))  # MovedError is an AskError
            self.settle(index, problem if elsewhere else heard)


async def _gathered(sends: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    # the most frequent case needs no tasks of its own
    return [await sends[0]] if len(sends) == 1 else await asyncio.gather(*sends)


def _host(node: RedisNode) -> str:
    return node.address.rpartition(":")[0]


def _pause_s(number: int) -> float:
    return min(_FIRST_PAUSE_S * 2.0 ** min(number, 16), _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
