"""What becomes of one attempt. Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from penguiflow.errors import FlowError, FlowErrorCode, NotRetryable
from penguiflow.node import Node
from penguiflow.retry import backoff


class Settlement(Enum):
    """What the input's edge is told at the end."""

    ACK = "ack"
    """The result is committed, or there is nothing to do for this input any more."""
    HAND_BACK = "hand back"
    """Deliver again later; this try does not count as an attempt."""
    RETRY = "retry"
    """Deliver again after the back-off, as the next attempt."""
    DEAD = "dead"
    """Not processable: the edge is told the reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a delivery is settled."""

    settlement: Settlement
    delay: float = 0.0
    """Seconds until the next delivery, for `RETRY` and `HAND_BACK`."""
    reason: str = ""


DONE = Outcome(Settlement.ACK)
"""Settled for good."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt."""

    error: BaseException
    timed_out: bool
    latency_ms: float


def decide(
    failure: Failure, *, node: Node, attempt: int, random_share: float = 0.0
) -> Outcome | None:
    """Retry after a back-off, or None when the node used up its attempts.

    Args:
        failure: What happened.
        node: The node that failed.
        attempt: Which attempt failed, from 0.
        random_share: A random number in [0, 1) for the policy's jitter.
    """
    policy = node.policy
    if attempt >= policy.max_retries or isinstance(
        failure.error, (NotRetryable, *policy.non_retryable)
    ):
        return None
    return Outcome(Settlement.RETRY, delay=backoff(policy, attempt + 1, random_share))


def flow_error(failure: Failure, *, node: Node, attempt: int, trace_id: str | None) -> FlowError:
    """The error that a node's last failure becomes."""
    policy = node.policy
    metadata: dict[str, object] = {"attempt": attempt, "latency_ms": failure.latency_ms}
    if failure.timed_out:
        code = FlowErrorCode.NODE_TIMEOUT
        metadata["timeout_s"] = policy.timeout_s
        if policy.timeout_s is not None:
            message = f"Node '{node.name}' timed out after {policy.timeout_s:.2f}s"
        else:
            message = str(failure.error) or f"Node '{node.name}' timed out"
    else:
        code = FlowErrorCode.NODE_EXCEPTION
        kind = type(failure.error).__name__
        message = f"Node '{node.name}' raised {kind}: {failure.error}"
        metadata["exception_repr"] = repr(failure.error)
    return FlowError.from_exception(
        trace_id=trace_id,
        node_name=node.name,
        node_id=node.node_id,
        exc=failure.error,
        code=code,
        message=message,
        metadata=metadata,
    )
