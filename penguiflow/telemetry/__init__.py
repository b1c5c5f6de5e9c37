"""Observing flows, remote calls and agents: by OpenTelemetry, or by an instrument of your own.

setup        one call: the SDK, OTLP, the standard variables; gives a Telemetry
from_environment  the same, when the variables ask for it
Telemetry    what `setup` gives: pass it as `telemetry=`, shut it down last
Tracing      spans by a provider of yours
Metrics      metrics by a provider of yours
Instrument   what all of them are; Instruments puts several together
SpanIds      a logging filter that gives records the ids of their span
joined       a block in which what is emitted belongs to the trace around it
"""

from __future__ import annotations

from penguiflow.telemetry.exporting import Telemetry, from_environment, setup
from penguiflow.telemetry.instrument import FlowPlace, Instrument
from penguiflow.telemetry.joined import joined
from penguiflow.telemetry.logs import SpanIds
from penguiflow.telemetry.metrics import Metrics
from penguiflow.telemetry.provider import TelemetryMissing
from penguiflow.telemetry.together import Instruments
from penguiflow.telemetry.tracing import Tracing

__all__ = [
    "FlowPlace",
    "Instrument",
    "Instruments",
    "Metrics",
    "SpanIds",
    "Telemetry",
    "TelemetryMissing",
    "Tracing",
    "from_environment",
    "joined",
    "setup",
]
