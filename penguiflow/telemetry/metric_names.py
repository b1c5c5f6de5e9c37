"""The metrics: names, units and what they say. Dashboards and alert rules name these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

DURATIONS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Boundaries in seconds that OpenTelemetry's conventions advise for durations."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: Literal["histogram", "counter", "gauge"]
    unit: str
    description: str

    @property
    def prometheus(self) -> str:
        """Its name on a Prometheus page; a histogram has `_bucket`, `_sum` and `_count` of it."""
        unit = _WORDS.get(self.unit, "")
        name = "_".join(part for part in (self.name.replace(".", "_"), unit) if part)
        return f"{name}_total" if self.kind == "counter" else name


_WORDS = {"s": "seconds"}

PROCESS: Final = Metric(
    "messaging.process.duration", "histogram", "s", "How long one attempt of a durable node took."
)
HOP: Final = Metric(
    "penguiflow.hop.duration",
    "histogram",
    "s",
    "From when the server stored an input until its attempt began, by the server's clock; "
    "only first deliveries.",
)
NODE: Final = Metric(
    "penguiflow.node.duration", "histogram", "s", "How long one attempt of a local node took."
)
PUBLISH: Final = Metric(
    "messaging.client.operation.duration",
    "histogram",
    "s",
    "From a write until the server confirmed it.",
)
SENT: Final = Metric(
    "messaging.client.sent.messages", "counter", "{message}", "Writes, by their outcome."
)
CONSUMED: Final = Metric(
    "messaging.client.consumed.messages", "counter", "{message}", "Deliveries to a node."
)
ATTEMPTS: Final = Metric(
    "penguiflow.node.attempts", "counter", "{attempt}", "Attempts of a node, by their outcome."
)
REDELIVERIES: Final = Metric(
    "penguiflow.node.redeliveries",
    "counter",
    "{message}",
    "Deliveries of an input that was delivered before.",
)
RETRIES: Final = Metric(
    "penguiflow.node.retries", "counter", "{attempt}", "Attempts that failed and are made again."
)
IN_FLIGHT: Final = Metric(
    "penguiflow.node.in_flight", "gauge", "{attempt}", "Attempts of a node under way here."
)
DEAD_LETTERS: Final = Metric(
    "penguiflow.dead_letters", "counter", "{message}", "Inputs that were buried, by reason."
)
CANCELS: Final = Metric(
    "penguiflow.cancels", "counter", "{cancel}", "Cancels of traces that were asked for here."
)
PENDING: Final = Metric(
    "penguiflow.consumer.pending", "gauge", "{message}", "Inputs of a node that nobody has yet."
)
LAG: Final = Metric(
    "penguiflow.consumer.lag",
    "gauge",
    "{message}",
    "Inputs of a node that are not settled: pending, or in some worker's hands.",
)
CALL: Final = Metric(
    "rpc.client.call.duration", "histogram", "s", "How long a call of a remote agent took."
)
CALLS_IN_FLIGHT: Final = Metric(
    "penguiflow.remote.in_flight", "gauge", "{call}", "Calls of remote agents under way here."
)
FIRST_CHUNK: Final = Metric(
    "penguiflow.stream.first_chunk.duration",
    "histogram",
    "s",
    "From a call until the first chunk of its answer.",
)
CHUNKS: Final = Metric(
    "penguiflow.stream.chunks", "counter", "{chunk}", "Chunks of answers that were read."
)
STALLS: Final = Metric(
    "penguiflow.stream.stalls",
    "counter",
    "{stall}",
    "Times that the next chunk of a stream took longer than a second.",
)
RESUMES: Final = Metric(
    "penguiflow.stream.resumes",
    "counter",
    "{resume}",
    "Streams that another replica took over, or that were followed anew.",
)
SERVED: Final = Metric(
    "rpc.server.call.duration",
    "histogram",
    "s",
    "How long an agent worked on a call, or a service on an operation of its protocol.",
)
SERVED_IN_FLIGHT: Final = Metric(
    "penguiflow.agent.in_flight", "gauge", "{call}", "Calls that an agent works on here."
)
OPEN_STREAMS: Final = Metric(
    "penguiflow.service.open_streams", "gauge", "{stream}", "Streams that a service has open here."
)
STORE: Final = Metric(
    "penguiflow.store.duration", "histogram", "s", "How long the state store took for one event."
)

METRICS: Final = (
    PROCESS, HOP, NODE, PUBLISH, SENT, CONSUMED, ATTEMPTS, REDELIVERIES, RETRIES, IN_FLIGHT,
    DEAD_LETTERS, CANCELS, PENDING, LAG, CALL, CALLS_IN_FLIGHT, FIRST_CHUNK, CHUNKS, STALLS,
    RESUMES, SERVED, SERVED_IN_FLIGHT, OPEN_STREAMS, STORE,
)  # fmt: skip

__all__ = ["DURATIONS", "METRICS", "Metric"]
