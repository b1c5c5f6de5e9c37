"""Traces by OpenTelemetry: `create(..., telemetry=Tracing())`."""

from __future__ import annotations

from typing import Self

from opentelemetry.trace import TracerProvider

from penguiflow.telemetry.agent_spans import AgentSpans
from penguiflow.telemetry.attempt import Part
from penguiflow.telemetry.call_spans import CallSpans
from penguiflow.telemetry.flow_spans import FlowSpans
from penguiflow.telemetry.instrument import (
    AgentInstrument,
    CallInstrument,
    FlowInstrument,
    FlowPlace,
    ServiceInstrument,
)
from penguiflow.telemetry.redaction import Redact, Redaction
from penguiflow.telemetry.service_spans import ServiceSpans
from penguiflow.telemetry.tracer import Starts, Tracer, found_provider


class Tracing:
    """An instrument that makes spans with a provider of yours.

    The provider is looked up when a flow, a worker, a client, a transport or an agent starts; set
    yours before. Where there is none, nothing is observed and nothing is spent. Neither the
    provider nor anything global is changed.

    Args:
        tracer_provider: Whose spans to make; by default the global provider.
        join_ambient: Whether a flow that is submitted within a span of somebody else becomes a
            part of that trace. By default it begins a trace of its own, whose id is the flow's
            trace id, with a link to that span.
        trust_parent_sampling: Whether no span is made for a message whose sender did not sample
            it. By default it is so when the provider's sampler would decide the same.
        redact: Says what of inputs, outputs and exceptions may leave by a span. Without it none
            of their text does.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        join_ambient: bool = False,
        trust_parent_sampling: bool | None = None,
        redact: Redact | None = None,
    ) -> None:
        self._tracer: Starts | None = None
        self._provider = tracer_provider
        self._join_ambient = join_ambient
        self._trust = trust_parent_sampling
        self._redaction = Redaction(redact)

    @classmethod
    def by(
        cls, tracer: Starts, *, join_ambient: bool = False, redact: Redact | None = None
    ) -> Self:
        """The same with a tracer of our own instead of a provider's."""
        tracing = cls(join_ambient=join_ambient, redact=redact)
        tracing._tracer = tracer
        return tracing

    def _part(self) -> Part | None:
        if self._tracer is not None:
            return Part(self._tracer, self._redaction)
        provider = found_provider(self._provider)
        if provider is None:
            return None
        return Part(Tracer(provider, trust_parent=self._trust), self._redaction)

    def flow(self, place: FlowPlace) -> FlowInstrument | None:
        part = self._part()
        return None if part is None else FlowSpans(part, place, join_ambient=self._join_ambient)

    def calls(self) -> CallInstrument | None:
        part = self._part()
        return None if part is None else CallSpans(part)

    def agent(self, name: str, *, tenant: str, instance: str) -> AgentInstrument | None:
        part = self._part()
        if part is None:
            return None
        return AgentSpans(part, name, tenant=tenant, instance=instance)

    def service(self, name: str, *, system: str) -> ServiceInstrument | None:
        part = self._part()
        return None if part is None else ServiceSpans(part, name, system=system)


__all__ = ["Tracing"]
