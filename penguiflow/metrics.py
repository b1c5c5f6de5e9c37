"""What a flow tells about itself: one `FlowEvent` per step of a node's life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_SCALARS = (str, int, float, bool)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, init=False)
class FlowEvent:
    """One step: `ts` is Unix time in seconds, `latency_ms` milliseconds, `attempt` counts from 0.

    `event_id`, `seq` (order within the trace) and `tenant` are set by durable flows.
    """

    event_type: str
    ts: float
    node_name: str | None
    node_id: str | None
    trace_id: str | None
    attempt: int
    latency_ms: float | None
    queue_depth_in: int
    queue_depth_out: int
    outgoing_edges: int
    queue_maxsize: int
    trace_pending: int | None
    trace_inflight: int
    trace_cancelled: bool
    extra: Mapping[str, Any] = field(default_factory=dict)
    event_id: str | None = None
    seq: int | None = None
    tenant: str | None = None

    def __init__(  # noqa: PLR0917 - the fields in their order, as a dataclass has it
        self,
        event_type: str,
        ts: float,
        node_name: str | None,
        node_id: str | None,
        trace_id: str | None,
        attempt: int,
        latency_ms: float | None,
        queue_depth_in: int,
        queue_depth_out: int,
        outgoing_edges: int,
        queue_maxsize: int,
        trace_pending: int | None,
        trace_inflight: int,
        trace_cancelled: bool,
        extra: Mapping[str, Any] = _NOTHING,
        event_id: str | None = None,
        seq: int | None = None,
        tenant: str | None = None,
    ) -> None:
        # The generated one of a frozen dataclass sets field by field, which takes five times as
        # long; a flow with a store makes two events per node and message.
        own = self.__dict__
        own["event_type"] = event_type
        own["ts"] = ts
        own["node_name"] = node_name
        own["node_id"] = node_id
        own["trace_id"] = trace_id
        own["attempt"] = attempt
        own["latency_ms"] = latency_ms
        own["queue_depth_in"] = queue_depth_in
        own["queue_depth_out"] = queue_depth_out
        own["outgoing_edges"] = outgoing_edges
        own["queue_maxsize"] = queue_maxsize
        own["trace_pending"] = trace_pending
        own["trace_inflight"] = trace_inflight
        own["trace_cancelled"] = trace_cancelled
        own["extra"] = MappingProxyType(dict(extra)) if extra else _NOTHING
        own["event_id"] = event_id
        own["seq"] = seq
        own["tenant"] = tenant

    @property
    def queue_depth(self) -> int:
        """Messages waiting before and behind the node."""
        return self.queue_depth_in + self.queue_depth_out

    @property
    def error_payload(self) -> Mapping[str, Any] | None:
        """The payload of the `FlowError`, on `node_failed`."""
        payload = self.extra.get("flow_error")
        return payload if isinstance(payload, Mapping) else None

    def to_payload(self) -> dict[str, Any]:
        """A flat dict for logs and stores."""
        return payload_of(**vars(self))

    def metric_samples(self) -> dict[str, float]:
        """The event's numbers, for a metrics backend."""
        samples = {
            "queue_depth_in": float(self.queue_depth_in),
            "queue_depth_out": float(self.queue_depth_out),
            "queue_depth_total": float(self.queue_depth),
            "attempt": float(self.attempt),
            "trace_inflight": float(self.trace_inflight),
            "trace_cancelled": 1.0 if self.trace_cancelled else 0.0,
        }
        if self.trace_pending is not None:
            samples["trace_pending"] = float(self.trace_pending)
        if self.latency_ms is not None:
            samples["latency_ms"] = float(self.latency_ms)
        return samples

    def tag_values(self) -> dict[str, str]:
        """The event's labels: type, node, trace and the scalar extras, as strings."""
        own = {"node_name": self.node_name, "node_id": self.node_id, "trace_id": self.trace_id}
        tags = {"event_type": self.event_type}
        tags.update({key: value for key, value in own.items() if value is not None})
        tags.update({k: str(v) for k, v in self.extra.items() if isinstance(v, _SCALARS)})
        return tags


def payload_of(  # noqa: PLR0917 - the fields of an event in their order
    event_type: str,
    ts: float,
    node_name: str | None,
    node_id: str | None,
    trace_id: str | None,
    attempt: int,
    latency_ms: float | None,
    queue_depth_in: int,
    queue_depth_out: int,
    outgoing_edges: int,
    queue_maxsize: int,
    trace_pending: int | None,
    trace_inflight: int,
    trace_cancelled: bool,
    extra: Mapping[str, Any],
    event_id: str | None,
    seq: int | None,
    tenant: str | None,
) -> dict[str, Any]:
    """The payload of the event with these fields, without the event."""
    payload: dict[str, Any] = {
        "ts": ts,
        "event": event_type,
        "node_name": node_name,
        "node_id": node_id,
        "trace_id": trace_id,
        "latency_ms": latency_ms,
        "q_depth_in": queue_depth_in,
        "q_depth_out": queue_depth_out,
        "q_depth_total": queue_depth_in + queue_depth_out,
        "outgoing": outgoing_edges,
        "queue_maxsize": queue_maxsize,
        "attempt": attempt,
        "trace_inflight": trace_inflight,
        "trace_cancelled": trace_cancelled,
    }
    if trace_id is not None:
        payload["trace_pending"] = trace_pending
    if event_id is not None:
        payload["event_id"] = event_id
    if seq is not None:
        payload["seq"] = seq
    if tenant is not None:
        payload["tenant"] = tenant
    if extra:
        payload.update(extra)
    return payload


__all__ = ["FlowEvent"]
