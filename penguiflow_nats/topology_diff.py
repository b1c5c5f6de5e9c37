"""What differs between the streams and consumers that a flow needs and those that are there. Pure.

Some differences can be made good while everything runs. Others would delete messages, leave some
without a reader, or are refused by the server; they are named with the reason, and left to people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from penguiflow_nats.stream_types import (
    SECOND,
    ConsumerConfig,
    ConsumerInfo,
    StreamConfig,
    StreamInfo,
)

PROMISE = ("retention", "discard", "max_msgs_per_subject", "discard_new_per_subject", "republish")
"""Settings of a stream without which the promise does not hold."""
NEEDED = ("subjects", "allow_direct", "allow_msg_ttl", "storage", "sealed", "no_ack")
"""Settings of a stream without which something fails when it is used."""
SIZES = ("max_bytes", "max_age", "max_msgs", "num_replicas")
"""Settings of a stream that are the operator's choice."""

_FIXED = {
    "retention": "the server does not change it on a stream that exists",
    "storage": "the server does not change it on a stream that exists",
    "sealed": "a sealed stream stays sealed",
    "deliver_policy": "the server does not change it; the consumer must be made anew",
    "ack_policy": "the server does not change it; the consumer must be made anew",
}
_CONSUMER = ("ack_policy", "deliver_policy", "ack_wait", "max_deliver", "backoff", "headers_only")
_DURATIONS = ("max_age", "ack_wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting that differs."""

    where: str
    """`stream NAME` or `consumer NAME`."""
    field: str
    found: Any
    wanted: Any
    danger: str = ""
    """Why it is not changed by itself; empty when it may be."""

    def line(self) -> str:
        """The change in one line."""
        found, wanted = shown(self.field, self.found), shown(self.field, self.wanted)
        text = f"{self.where}: {self.field} is {found}, needed is {wanted}"
        return f"{text}; {self.danger}" if self.danger else text


class TopologyDrift(RuntimeError):
    """What is on the server differs from what the flow needs.

    Attributes:
        changes: The differences.
    """

    def __init__(self, changes: Sequence[Change], hint: str) -> None:
        lines = "; ".join(change.line() for change in changes)
        super().__init__(f"{lines}. {hint}")
        self.changes = tuple(changes)


def shown(field: str, value: Any) -> str:
    """The value of a setting, for people."""
    if field in _DURATIONS:
        return "unlimited" if value <= 0 else f"{value / SECOND:g} s"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def stream_changes(wanted: StreamConfig, found: StreamInfo, *, sizes: bool) -> Iterator[Change]:
    """What differs in a stream.

    Args:
        wanted: As it should be.
        found: As it is.
        sizes: Whether also its limits and copies are meant as given; else those are left alone.
    """
    for field in (*PROMISE, *NEEDED, *(SIZES if sizes else ())):
        is_, should = getattr(found.config, field), getattr(wanted, field)
        if is_ != should:
            danger = _FIXED.get(field, "") or _stream_danger(field, is_, should, found)
            yield Change(
                where=f"stream {wanted.name}", field=field, found=is_, wanted=should, danger=danger
            )


def _stream_danger(field: str, found: Any, wanted: Any, info: StreamInfo) -> str:
    if field == "max_msgs_per_subject":
        return "the server would delete all but the newest message of each subject"
    if field == "subjects":
        lost = sorted(set(found) - set(wanted))
        return f"it would not take {', '.join(lost)} any more" if lost else ""
    if field == "max_age" and wanted and (not found or wanted < found):
        return "what is older would be deleted at once"
    if field == "max_bytes" and 0 < wanted < info.state.bytes:
        return f"it holds {info.state.bytes} bytes already"
    if field == "allow_msg_ttl" and not wanted:
        return "the server does not take it back"
    return ""


def consumer_changes(wanted: ConsumerConfig, found: ConsumerInfo) -> Iterator[Change]:
    """What differs in a consumer."""
    where = f"consumer {wanted.durable_name}"
    config = found.config
    is_ = sorted(config.filter_subjects or [config.filter_subject])
    should = sorted(wanted.filter_subjects)
    if is_ != should:
        yield Change(
            where=where,
            field="filter_subjects",
            found=is_,
            wanted=should,
            danger=_filter_danger(is_, should, found),
        )
    for field in _CONSUMER:
        found_value, wanted_value = getattr(config, field), getattr(wanted, field)
        if found_value != wanted_value:
            yield Change(
                where=where,
                field=field,
                found=found_value,
                wanted=wanted_value,
                danger=_FIXED.get(field, ""),
            )
    if 0 < config.max_ack_pending < wanted.max_ack_pending:
        yield Change(
            where=where,
            field="max_ack_pending",
            found=config.max_ack_pending,
            wanted=wanted.max_ack_pending,
        )
    if config.deliver_subject:
        yield Change(
            where=where,
            field="deliver_subject",
            found=config.deliver_subject,
            wanted="",
            danger="it is a push consumer; it must be made anew",
        )


def _filter_danger(found: list[str], wanted: list[str], info: ConsumerInfo) -> str:
    """What a consumer no longer reads would wait for ever."""
    left = info.num_pending + info.num_ack_pending
    if set(found) <= set(wanted) or not left:
        return ""
    return (
        f"{left} entries wait in it, and some may be of subjects that it would not read any more; "
        "let workers of the old graph finish, or give the new graph a version of its own"
    )


__all__ = [
    "NEEDED",
    "PROMISE",
    "SIZES",
    "Change",
    "TopologyDrift",
    "consumer_changes",
    "shown",
    "stream_changes",
]
