"""Which keys a pattern covers, and which topics a subscription hears (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from penguiflow.durable.log import Key, Pattern

_TOPIC = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def matches(pattern: Pattern, key: Key) -> bool:
    """Whether the key is in the set; a part that is None matches every value."""
    return (
        (pattern.kind is None or pattern.kind is key.kind)
        and (pattern.node is None or pattern.node == key.node)
        and (pattern.trace is None or pattern.trace == key.trace)
        and (pattern.input is None or pattern.input == key.input)
    )


def matches_any(patterns: Iterable[Pattern], key: Key) -> bool:
    """Whether at least one of the patterns covers the key."""
    return any(matches(pattern, key) for pattern in patterns)


def check_topic(topic: str, *, wildcard: bool) -> None:
    """Refuse a topic that no broker could carry.

    Raises:
        ValueError: an empty token, a letter outside the token alphabet, or a misplaced `*`.
    """
    plain = topic
    if wildcard:
        plain = ".".join("any" if part == "*" else part for part in topic.split("."))
    if _TOPIC.fullmatch(plain) is None:
        msg = f"not a topic: {topic!r}"
        raise ValueError(msg)


def hears(listened: str, topic: str) -> bool:
    """Whether a subscription to `listened` hears `topic`; a `*` is exactly one token."""
    if "*" not in listened:
        return listened == topic
    wanted, parts = listened.split("."), topic.split(".")
    return len(wanted) == len(parts) and all(
        want in ("*", part) for want, part in zip(wanted, parts, strict=True)
    )
