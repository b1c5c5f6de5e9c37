"""FlowEvents in a form for people who look for an error."""

from __future__ import annotations

from typing import Any

from penguiflow.metrics import FlowEvent


def format_flow_event(event: FlowEvent) -> dict[str, Any]:
    """The event's payload, flat: of a failed node also each `flow_error_<key>`."""
    payload = event.to_payload()
    for key, value in (event.error_payload or {}).items():
        payload[f"flow_error_{key}"] = value
    return payload


__all__ = ["format_flow_event"]
