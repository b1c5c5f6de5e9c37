"""Observing flows, remote calls and agents: by OpenTelemetry, or by an instrument of your own."""

from __future__ import annotations

from penguiflow.telemetry.instrument import Instrument

__all__ = ["Instrument"]
