"""The consumers of a flow's nodes: their configuration. Pure."""

from __future__ import annotations

from penguiflow.durable.log import ConsumerSpec
from penguiflow_nats.stream_types import SECOND, ConsumerConfig
from penguiflow_nats.subjects import Names


def consumer_config(names: Names, spec: ConsumerSpec, *, window: int) -> ConsumerConfig:
    """The durable consumer of a node.

    Args:
        names: What the flow is called on the server.
        spec: What the node reads, and its lease.
        window: Entries that one worker wants in hand.
    """
    return ConsumerConfig(
        durable_name=names.consumer(spec.name),
        filter_subjects=names.filters(spec.patterns),
        ack_wait=round(spec.lease * SECOND),
        max_ack_pending=max(spec.max_ack_pending, window),
        metadata=dict(spec.metadata),
    )


__all__ = ["consumer_config"]
