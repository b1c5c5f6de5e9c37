"""The plan of a flow's streams and consumers, from its graph and from what is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penguiflow.durable.topology import TIMER_WINDOW, TIMERS, Topology
from penguiflow_nats.consumers import consumer_config
from penguiflow_nats.stream_types import ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo
from penguiflow_nats.streams import Storage, chunk_config, dlq_config, log_config
from penguiflow_nats.subjects import Names
from penguiflow_nats.topology_diff import Change, consumer_changes, stream_changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a flow needs on the server."""

    streams: tuple[StreamConfig, ...]
    consumers: tuple[ConsumerConfig, ...] = ()
    sizes: bool = False
    """Whether the limits and copies of streams are meant as they stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A consumer of a node that the flow does not have."""

    consumer: str
    node: str
    """Token of the node."""
    waiting: int
    """Entries that it has not settled, some perhaps not meant for the node."""
    served: bool
    """Whether workers of another graph still ask it for work."""

    def line(self) -> str:
        """The orphan in one line."""
        text = f"consumer {self.consumer}: the flow has no node {self.node}; {self.waiting} entries"
        if self.served:
            return f"{text} wait, and workers of another graph serve it"
        return f"{text} wait, and nobody serves it"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyPlan:
    """What is missing, and what differs."""

    stream: str
    """The log, which has the consumers."""
    streams: tuple[StreamConfig, ...] = ()
    """To be created."""
    consumers: tuple[ConsumerConfig, ...] = ()
    """To be created."""
    changes: tuple[Change, ...] = ()
    orphans: tuple[Orphan, ...] = ()

    @property
    def refused(self) -> tuple[Change, ...]:
        """Changes that are left to people."""
        return tuple(change for change in self.changes if change.danger)

    @property
    def missing(self) -> tuple[str, ...]:
        """What is to be created."""
        return (
            *(f"stream {each.name}" for each in self.streams),
            *(f"consumer {each.durable_name}" for each in self.consumers),
        )

    @property
    def stranded(self) -> tuple[Orphan, ...]:
        """Orphans in which something waits that nobody serves."""
        return tuple(o for o in self.orphans if o.waiting and not o.served)

    @property
    def is_same(self) -> bool:
        """Whether the server has what the flow needs, and nothing waits for nobody."""
        return not (self.missing or self.changes or self.stranded)

    def lines(self) -> list[str]:
        """The plan as a diff: `+` is created, `~` changed, `!` refused, `?` waits for nobody."""
        return [
            *(f"+ {each}" for each in self.missing),
            *(f"{'!' if change.danger else '~'} {change.line()}" for change in self.changes),
            *(f"{'?' if o in self.stranded else ' '} {o.line()}" for o in self.orphans),
        ]


def wanted_for(
    names: Names,
    topology: Topology,
    *,
    storage: Storage | None = None,
    nodes: Sequence[str] | None = None,
    concurrency: int = 64,
) -> Wanted:
    """What a worker needs.

    Args:
        names: What the flow is called on the server.
        topology: The consumers of its nodes.
        storage: Limits and copies of streams; without them only missing streams get the usual.
        nodes: Names of the nodes whose consumers are meant; all by default.
        concurrency: Inputs in work at once, of nodes that do not say it themselves.
    """
    sizes = storage or Storage()
    chosen = [n for n in topology.graph.nodes if nodes is None or str(n.name) in nodes]
    return Wanted(
        streams=tuple(make(names, sizes) for make in (log_config, chunk_config, dlq_config)),
        consumers=(
            *(
                consumer_config(
                    names, topology.consumer(n), window=n.policy.concurrency or concurrency
                )
                for n in chosen
            ),
            consumer_config(names, topology.timers(), window=TIMER_WINDOW),
        ),
        sizes=storage is not None,
    )


def wanted_by_clients(names: Names, storage: Storage | None = None) -> Wanted:
    """What a client needs."""
    sizes = storage or Storage()
    streams = (log_config(names, sizes), chunk_config(names, sizes))
    return Wanted(streams=streams, sizes=storage is not None)


def plan_topology(
    names: Names,
    wanted: Wanted,
    streams: Mapping[str, StreamInfo],
    consumers: Mapping[str, ConsumerInfo],
    *,
    known: Sequence[str] = (),
) -> TopologyPlan:
    """What to create and what to change.

    Args:
        names: What the flow is called on the server.
        wanted: What it needs.
        streams: The streams that are there, by name.
        consumers: The consumers of the log that are there, by name.
        known: Tokens of all nodes of the flow; without them no orphans are looked for.
    """
    changes: list[Change] = []
    for stream in wanted.streams:
        if stream.name in streams:
            found = streams[stream.name]
            changes += stream_changes(stream, found, sizes=wanted.sizes)
    for consumer in wanted.consumers:
        if consumer.durable_name in consumers:
            changes += consumer_changes(consumer, consumers[consumer.durable_name])
    own = {names.consumer(token) for token in (*known, TIMERS)}
    prefix = names.consumer("")
    orphans = [
        Orphan(
            consumer=name,
            node=name.removeprefix(prefix),
            waiting=info.num_pending + info.num_ack_pending,
            served=info.num_waiting > 0,
        )
        for name, info in sorted(consumers.items())
        if known and name.startswith(prefix) and name not in own
    ]
    return TopologyPlan(
        stream=names.log_stream,
        streams=tuple(each for each in wanted.streams if each.name not in streams),
        consumers=tuple(c for c in wanted.consumers if c.durable_name not in consumers),
        changes=tuple(changes),
        orphans=tuple(orphans),
    )


__all__ = [
    "Orphan",
    "TopologyPlan",
    "Wanted",
    "plan_topology",
    "wanted_by_clients",
    "wanted_for",
]
