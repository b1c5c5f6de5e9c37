"""The streams of the tenant: whether they are as this package would make them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penguiflow_nats.call_streams import CallStorage, calls_config, replies_config
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.doctor_findings import Case, Facts, Finding, amount, owner, period
from penguiflow_nats.stream_types import SECOND, StreamConfig
from penguiflow_nats.streams import Storage, chunk_config, dlq_config, log_config
from penguiflow_nats.topology_diff import NEEDED, PROMISE

_FULL_WARNING, _FULL_ERROR = 0.6, 0.8
"""At the second one submissions are refused."""


def wanted_streams(case: Case) -> list[StreamConfig]:
    """The streams of a flow's tenant; those of calls exist only where there are agents."""
    storage = Storage()
    return [make(case.names, storage) for make in (log_config, dlq_config, chunk_config)]


def _all_streams(case: Case) -> list[StreamConfig]:
    calls, storage = CallNames(case.tenant), CallStorage()
    return [*wanted_streams(case), calls_config(calls, storage), replies_config(calls, storage)]


def check_missing(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether the flow's streams are there."""
    if facts.account is None:
        return
    known = {*facts.streams, *facts.missing}
    missing = [each.name for each in wanted_streams(case) if each.name not in known]
    if missing:
        yield Finding(
            id="stream-missing",
            severity="warning" if case.flow is not None else "note",
            where=f"tenant {case.tenant}",
            evidence=f"there is no {', '.join(missing)}",
            fix="start a worker of the flow: `penguiflow worker module:flow`",
        )


def check_drift(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether somebody changed what the promise stands on."""
    for wanted in _all_streams(case):
        stream = facts.streams.get(wanted.name)
        if stream is None:
            continue
        for name in (*PROMISE, *NEEDED, "max_msgs"):
            found, needed = getattr(stream.config, name), getattr(wanted, name)
            if found != needed:
                promise = name in PROMISE
                yield Finding(
                    id="stream-drift",
                    severity="error" if promise or name != "max_msgs" else "warning",
                    where=f"stream {wanted.name}",
                    evidence=f"{name} is {_shown(found)}, needed is {_shown(needed)}"
                    + ("; a result could be written twice or pushed out" if promise else ""),
                    fix=_fix(wanted.name, name),
                )


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)


def _fix(stream: str, setting: str) -> str:
    if setting in ("max_msgs_per_subject", "retention", "storage"):
        # Editing this one on a stream that is in use deletes messages, or is refused.
        return (
            f"stop the workers, `nats stream backup {stream} backup`, `nats stream rm {stream}`, "
            "and start a worker, which makes it anew"
        )
    flags = {
        "discard": "--discard=new",
        "discard_new_per_subject": "--discard-per-subject",
        "allow_direct": "--allow-direct",
        "max_msgs": "--max-msgs=-1",
    }
    flag = flags.get(setting)
    how = f"nats stream edit {stream} {flag}" if flag else f"nats stream edit {stream}"
    return how if flag else f"{how} (setting {setting})"


def check_room(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether a stream that refuses when full is about to."""
    for wanted in _all_streams(case):
        if wanted.discard == "new":
            yield from filling(
                facts,
                wanted.name,
                id="stream-filling",
                consequence="at 80 % submissions are refused",
                remedy="more workers, a shorter retention",
            )


def filling(
    facts: Facts, name: str, *, id: str, consequence: str, remedy: str
) -> Iterator[Finding]:
    """Whether a stream that has a limit is about to reach it; what then, and what to do before."""
    stream = facts.streams.get(name)
    if stream is None or stream.config.max_bytes <= 0:
        return
    share = stream.state.bytes / stream.config.max_bytes
    if share >= _FULL_WARNING:
        yield Finding(
            id=id,
            severity="error" if share >= _FULL_ERROR else "warning",
            where=f"stream {name}",
            evidence=f"{amount(stream.state.bytes)} of {amount(stream.config.max_bytes)}; "
            f"{consequence}",
            fix=f"{remedy}, or `nats stream edit {name} --max-bytes={2 * stream.config.max_bytes}`",
        )


def check_loss(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether the server knows that it lost something."""
    for name, stream in sorted(facts.streams.items()):
        lost = stream.state.lost
        if owner(name) == case.names.tenant_token and lost and lost.msgs:
            yield Finding(
                id="stream-lost",
                severity="error",
                where=f"stream {name}",
                evidence=f"{len(lost.msgs)} messages ({amount(lost.bytes)}) are damaged",
                fix="`penguiflow audit module:flow` lists the traces; submit those again",
            )


def check_letters(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether somebody should look at what was given up."""
    stream = facts.streams.get(case.names.dlq_stream)
    if stream is None or not facts.letters:
        return
    worst = sorted(facts.letters.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{count} of {where}" for where, count in worst[:5])
    age = stream.config.max_age / SECOND
    yield Finding(
        id="dead-letters",
        severity="warning",
        where=f"stream {case.names.dlq_stream}",
        evidence=f"{sum(facts.letters.values())} dead letters wait: {listed}; each is removed "
        f"{period(age) if age else 'never'} after it was written",
        fix="`penguiflow dlq ls`; mend the node, then `penguiflow dlq redrive module:flow`",
    )


CHECKS = (check_missing, check_drift, check_room, check_loss, check_letters)

__all__ = ["CHECKS", "wanted_streams"]
