"""Errors that a flow reports.

FlowError          a node used up its attempts; carries code, node and trace
FlowErrorCode      the stable codes
NotRetryable       another attempt of the node would only say the same
TraceCancelled     the trace was cancelled while somebody waited for it
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class NotRetryable(Exception):
    """Raised by a node, it ends the node's attempts, whatever retries its policy has left: another
    attempt would say the same."""


class FlowErrorCode(StrEnum):
    """Stable codes. The first two are produced by the local flow."""

    NODE_TIMEOUT = "NODE_TIMEOUT"
    NODE_EXCEPTION = "NODE_EXCEPTION"
    TRACE_CANCELLED = "TRACE_CANCELLED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    HOP_BUDGET_EXHAUSTED = "HOP_BUDGET_EXHAUSTED"
    TOKEN_BUDGET_EXHAUSTED = "TOKEN_BUDGET_EXHAUSTED"  # noqa: S105 - an error code


class FlowError(Exception):
    """A node failed for good.

    `code` is a plain string; `unwrap()` gives the exception that caused it, if it is known in
    this process.
    """

    def __init__(
        self,
        *,
        trace_id: str | None,
        node_name: str | None,
        code: FlowErrorCode | str,
        message: str,
        original_exc: BaseException | None = None,
        node_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.trace_id = trace_id
        self.node_name = node_name
        self.node_id = node_id
        self.code: str = code.value if isinstance(code, FlowErrorCode) else str(code)
        self.message = message
        self.original_exc = original_exc
        self.exception_type: str | None = (
            type(original_exc).__name__ if original_exc is not None else None
        )
        self.metadata: dict[str, Any] = dict(metadata or {})

    def unwrap(self) -> BaseException | None:
        """The exception that caused this error, or None."""
        return self.original_exc

    def to_payload(self) -> dict[str, Any]:
        """A JSON-friendly dict; empty keys are left out."""
        payload: dict[str, Any] = {"code": self.code, "message": self.message}
        optional = {
            "trace_id": self.trace_id,
            "node_name": self.node_name,
            "node_id": self.node_id,
            "exception_type": self.exception_type,
        }
        payload.update({key: value for key, value in optional.items() if value is not None})
        if self.metadata:
            payload["metadata"] = dict(self.metadata)
        return payload

    @classmethod
    def from_exception(
        cls,
        *,
        trace_id: str | None,
        node_name: str | None,
        node_id: str | None,
        exc: BaseException,
        code: FlowErrorCode | str,
        message: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> FlowError:
        """Wrap an exception; the message defaults to the exception's text or its type."""
        return cls(
            trace_id=trace_id,
            node_name=node_name,
            node_id=node_id,
            code=code,
            message=message or str(exc) or type(exc).__name__,
            original_exc=exc,
            metadata=metadata,
        )

    def __str__(self) -> str:
        text = f"[{self.code}] {self.message}"
        if self.trace_id is not None:
            text += f" trace={self.trace_id}"
        return text if self.node_name is None else f"{text} node={self.node_name}"


class TraceCancelled(Exception):
    """The trace was cancelled."""

    def __init__(self, trace_id: str | None) -> None:
        super().__init__(f"trace cancelled: {trace_id}")
        self.trace_id = trace_id


__all__ = ["FlowError", "FlowErrorCode", "NotRetryable", "TraceCancelled"]
