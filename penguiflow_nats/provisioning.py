"""Brings the server to what a flow needs, checks it, or leaves it alone."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeVar, get_args

import msgspec

from penguiflow_nats import error_codes
from penguiflow_nats.errors import ApiError, NatsError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.stream_types import ConsumerConfig, ConsumerInfo, StreamInfo
from penguiflow_nats.subjects import Names
from penguiflow_nats.topology_diff import PROMISE, Change, TopologyDrift
from penguiflow_nats.topology_plan import TopologyPlan, Wanted, plan_topology

logger = logging.getLogger("penguiflow.nats")

T = TypeVar("T")

Provision = Literal["apply", "verify", "off"]
"""What a worker or client does about streams and consumers: make them as they are needed, raise
when they are not, or leave them alone."""
PROVISIONS: tuple[Provision, ...] = get_args(Provision)

_GIVE_UP = 60.0
_ROUNDS = 5
"""Plans that are made anew because somebody else changed something at the same moment."""
_RACED = frozenset(
    (
        error_codes.CONSUMER_EXISTS,
        error_codes.CONSUMER_NAME_IN_USE,
        error_codes.STREAM_NAME_IN_USE,
        error_codes.CONSUMER_DOES_NOT_EXIST,
    )
)

VERIFY_HINT = (
    "`penguiflow topology plan module:flow` shows it, `penguiflow topology apply` or "
    "provision='apply' makes it good"
)
REFUSED_HINT = "Nothing was changed; change it by hand, or the flow"


class TopologyMissing(NatsError):
    """A stream or consumer that is needed is not there, and nobody may create it here.

    Attributes:
        missing: What is not there.
    """

    def __init__(self, missing: Sequence[str]) -> None:
        listed = ", ".join(missing)
        super().__init__(
            f"there is no {listed}; `penguiflow topology apply module:flow` or a worker with "
            "provision='apply' creates what is missing"
        )
        self.missing = tuple(missing)


class Provisioner:
    """Plans, applies and verifies what one flow needs.

    Args:
        jetstream: JetStream of the tenant's account.
        names: What the flow is called on the server.
        wanted: What it needs.
        known: Tokens of all its nodes; without them no orphans are looked for.
    """

    def __init__(
        self, jetstream: JetStream, names: Names, wanted: Wanted, *, known: Sequence[str] = ()
    ) -> None:
        self._jetstream = jetstream
        self._names = names
        self._wanted = wanted
        self._known = known

    async def plan(self) -> TopologyPlan:
        """What is missing and what differs; changes nothing.

        Raises:
            NatsError: the server refuses or does not answer.
        """
        streams, consumers = await self._look()
        return plan_topology(self._names, self._wanted, streams, consumers, known=self._known)

    async def provision(self, how: Provision) -> TopologyPlan:
        """Do what is to be done; returns the plan that was carried out.

        Raises:
            TopologyDrift: with "apply" a difference that is left to people, and nothing was
                changed; with "verify" any difference; with "off" one that breaks the promise.
            TopologyMissing: with "verify" and "off", something is not there.
            NatsError: the server refuses or does not answer.
        """
        if how == "apply":
            return await self.apply()
        plan = await self.plan()
        if plan.missing:
            raise TopologyMissing(plan.missing)
        promised = tuple(c for c in plan.changes if c.field in PROMISE)
        changes = plan.changes if how == "verify" else promised
        if changes:
            raise TopologyDrift(changes, VERIFY_HINT)
        return plan

    async def apply(self) -> TopologyPlan:
        """Create what is missing and change what may be changed. Raises as `provision`."""
        for left in reversed(range(_ROUNDS)):
            plan = await self.plan()
            if plan.refused:
                raise TopologyDrift(plan.refused, REFUSED_HINT)
            try:
                await self._carry_out(plan)
            except ApiError as error:
                if error.err_code not in _RACED or not left:
                    raise
            else:
                return plan
        raise AssertionError

    async def _carry_out(self, plan: TopologyPlan) -> None:
        for stream in plan.streams:
            await self._persist(lambda stream=stream: self._jetstream.create_stream(stream))  # type: ignore[misc]
        for consumer in plan.consumers:
            await self._persist(
                lambda consumer=consumer: self._jetstream.create_consumer(  # type: ignore[misc]
                    plan.stream, consumer, action="create"
                )
            )
        by_place: defaultdict[str, list[Change]] = defaultdict(list)
        for change in plan.changes:
            by_place[change.where].append(change)
        for where, changes in by_place.items():
            kind, _, name = where.partition(" ")
            values = {change.field: change.wanted for change in changes}
            for change in changes:
                logger.warning("changing %s", change.line())
            if kind == "stream":
                await self._update_stream(name, values)
            else:
                await self._update_consumer(plan.stream, name, values)

    async def _update_stream(self, name: str, values: Mapping[str, object]) -> None:
        found = await self._persist(lambda: self._jetstream.stream_info(name))
        config = msgspec.structs.replace(found.config, **values)
        await self._persist(lambda: self._jetstream.update_stream(config))

    async def _update_consumer(self, stream: str, name: str, values: Mapping[str, object]) -> None:
        found = await self._persist(lambda: self._jetstream.consumer_info(stream, name))
        if "filter_subjects" in values:
            values = {**values, "filter_subject": ""}
        config = msgspec.structs.replace(found.config, **values)
        await self._persist(
            lambda: self._jetstream.create_consumer(stream, config, action="update")
        )

    # Looking

    async def _look(self) -> tuple[dict[str, StreamInfo], dict[str, ConsumerInfo]]:
        streams = {}
        for config in self._wanted.streams:
            info = await self._there(lambda name=config.name: self._jetstream.stream_info(name))  # type: ignore[misc]
            if info is not None:
                streams[config.name] = info
        log = self._names.log_stream
        if log not in streams:
            return streams, {}
        names = [config.durable_name for config in self._wanted.consumers]
        if self._known:
            prefix = self._names.consumer("")
            listed = await self._persist(lambda: self._jetstream.consumer_names(log))
            names += [n for n in listed if n.startswith(prefix) and n not in names]
        consumers = {}
        for name in names:
            found = await self._there(
                lambda name=name: self._jetstream.consumer_info(log, name)  # type: ignore[misc]
            )
            if found is not None:
                consumers[name] = found
        return streams, consumers

    async def _there(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await self._persist(ask)
        except ApiError as error:
            if error.err_code in (error_codes.STREAM_NOT_FOUND, error_codes.CONSUMER_NOT_FOUND):
                return None
            raise

    async def _persist(self, action: Callable[[], Awaitable[T]]) -> T:
        return await persist(self._jetstream.connection, action, limit=_GIVE_UP)


async def provision_consumer(
    jetstream: JetStream, names: Names, config: ConsumerConfig, how: Provision
) -> None:
    """Make sure of one consumer of the log. Raises as `Provisioner.provision`."""
    wanted = Wanted(streams=(), consumers=(config,))
    await _Single(jetstream, names, wanted).provision(how)


class _Single(Provisioner):
    """One consumer of a log that is known to be there."""

    async def _look(self) -> tuple[dict[str, StreamInfo], dict[str, ConsumerInfo]]:
        (config,) = self._wanted.consumers
        found = await self._there(
            lambda: self._jetstream.consumer_info(self._names.log_stream, config.durable_name)
        )
        return {}, {} if found is None else {config.durable_name: found}


__all__ = [
    "PROVISIONS",
    "Provision",
    "Provisioner",
    "TopologyDrift",
    "TopologyMissing",
    "provision_consumer",
]
