"""What waits, and when it will be done: a forecast from two looks at each consumer. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from penguiflow_nats.doctor_findings import Case, Facts, Finding, period
from penguiflow_nats.stream_types import ConsumerInfo

_ADMITTED = 0.8
"""Share of the log up to which submissions are taken."""


def waiting(consumer: ConsumerInfo) -> int:
    """Entries that are not done: not delivered yet, or in work."""
    return consumer.num_pending + consumer.num_ack_pending


def check_backlog(facts: Facts, case: Case) -> Iterator[Finding]:
    """Each consumer of the tenant's log with something to do."""
    stream = case.names.log_stream
    for (where, name), now in sorted(facts.consumers.items()):
        if where != stream or not waiting(now):
            continue
        before = facts.earlier.get((where, name))
        yield _judged(name, now, before, facts, case)


def _judged(
    name: str, now: ConsumerInfo, before: ConsumerInfo | None, facts: Facts, case: Case
) -> Finding:
    where = f"consumer {name}"
    left = waiting(now)
    limit = now.config.max_ack_pending
    if not now.num_waiting and not now.num_ack_pending:
        return Finding(
            id="backlog-unserved",
            severity="error",
            where=where,
            evidence=f"{left} entries wait, and no worker asks for them",
            fix="start workers that host the node: `penguiflow worker module:flow`",
        )
    grown = left - waiting(before) if before is not None else 0
    rate = grown / facts.interval if facts.interval > 0 else 0.0
    if 0 < limit <= now.num_ack_pending and now.num_pending:
        return Finding(
            id="backlog-stuck",
            severity="error",
            where=where,
            evidence=f"{now.num_ack_pending} entries are in work, which is max_ack_pending; "
            f"{now.num_pending} more are held back",
            fix=f"nats consumer edit {case.names.log_stream} {name} --max-pending={2 * limit}, or "
            "look why those in work do not end",
        )
    if rate > 0:
        return Finding(
            id="backlog-grows",
            severity="warning",
            where=where,
            evidence=f"{left} entries, {rate:.1f} more each second{_full_in(facts, case)}",
            fix="more workers, or more concurrency: `penguiflow worker --concurrency N`",
        )
    ends = f"; done in about {period(left / -rate)}" if rate < 0 else "; it does not shrink"
    return Finding(
        id="backlog",
        severity="note",
        where=where,
        evidence=f"{left} entries, {now.num_ack_pending} of them in work{ends}",
        fix="none while it shrinks; else more workers",
    )


def _full_in(facts: Facts, case: Case) -> str:
    name = case.names.log_stream
    now, before = facts.streams.get(name), facts.earlier_streams.get(name)
    if now is None or before is None or now.config.max_bytes <= 0 or facts.interval <= 0:
        return ""
    rate = (now.state.bytes - before.state.bytes) / facts.interval
    room = _ADMITTED * now.config.max_bytes - now.state.bytes
    if rate <= 0 or room <= 0:
        return ""
    return f"; the log refuses submissions in about {period(room / rate)}"


CHECKS = (check_backlog,)

__all__ = ["CHECKS", "waiting"]
