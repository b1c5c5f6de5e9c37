"""Telemetry is tried where the engine's contract is, and with one provider per test."""

from __future__ import annotations

from tests.contract.engine.conftest import house

__all__ = ["house"]
