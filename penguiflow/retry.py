"""When a failed attempt is repeated. Pure."""

from __future__ import annotations

from penguiflow.node import NodePolicy

_LARGEST_EXPONENT = 1_000
"""Beyond it a float overflows; the back-off is capped long before."""


def backoff(policy: NodePolicy, retry: int, random_share: float = 0.0) -> float:
    """Seconds to wait before retry number `retry` (from 1).

    Args:
        policy: The node's policy.
        retry: Which retry it is, from 1.
        random_share: A random number in [0, 1) that the policy's jitter is drawn with.
    """
    exponent = min(retry - 1, _LARGEST_EXPONENT)
    try:
        delay = policy.backoff_base * policy.backoff_mult**exponent
    except OverflowError:
        delay = policy.max_backoff if policy.max_backoff is not None else 86_400.0
    if policy.max_backoff is not None:
        delay = min(delay, policy.max_backoff)
    return max(0.0, delay * (1.0 - policy.jitter * random_share))
