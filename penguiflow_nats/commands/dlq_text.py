"""How dead letters and their redrives are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from pydantic_core import to_json

from penguiflow.durable.dead_letters import Buried
from penguiflow.durable.envelope import decode
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.redrive import Redriven
from penguiflow.durable.redrive_plan import RedrivePlan
from penguiflow.durable.wire_errors import WireError

SHORT = 12
"""Digits of an id in a list; enough to name the letter again."""


def moment(seconds: float) -> str:
    """A time for people and programs."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def line_of(buried: Buried) -> str:
    """A letter in one line."""
    letter = buried.letter
    detail = " ".join(letter.detail.split())[:120]
    return (
        f"{buried.id[:SHORT]}  {moment(buried.buried_at)}  {buried.flow}  {letter.node}  "
        f"{letter.reason}  trace {trace_of(buried)}  {detail}"
    )


def trace_of(buried: Buried) -> str:
    """The trace id as its user knows it, when the letter can be read."""
    try:
        return decode(buried.letter.stored.data).trace
    except WireError:
        return buried.letter.stored.key.trace


def described(buried: Buried) -> dict[str, Any]:
    """All of a letter, for JSON."""
    letter, stored = buried.letter, buried.letter.stored
    found: dict[str, Any] = {
        "id": buried.id,
        "buried_at": moment(buried.buried_at),
        "flow": buried.flow,
        "node": letter.node,
        "reason": letter.reason.value,
        "detail": letter.detail,
        "deliveries": letter.deliveries,
        "worker": letter.worker,
        "trace": trace_of(buried),
        "entry": {
            "kind": stored.key.kind.value,
            "trace": stored.key.trace,
            "node": stored.key.node,
            "input": stored.key.input,
            "sequence": stored.sequence,
            "written_at": moment(stored.timestamp),
            "bytes": len(stored.data),
        },
    }
    try:
        envelope = decode(stored.data)
    except WireError as error:
        found["unreadable"] = str(error)
        found["data"] = stored.data.hex()
        return found
    fields = {name: getattr(envelope, name) for name in envelope.__struct_fields__}
    fields["outputs"] = [
        {
            "targets": output.targets,
            "payload": _plain(output.payload),
            "trace_id": output.trace_id,
            "topic": output.topic,
            "priority": output.priority,
            "deadline_s": output.deadline_s,
            "meta": _plain(output.meta),
        }
        for output in envelope.outputs
    ]
    found["envelope"] = fields
    return found


def _plain(packed: msgspec.Raw) -> Any:
    """A packed value without the classes that it is of: their fields, whatever they are."""

    def extension(code: int, data: memoryview) -> Any:
        try:
            return msgspec.msgpack.decode(data, ext_hook=extension)
        except (msgspec.DecodeError, RecursionError):
            return bytes(data)

    try:
        return msgspec.msgpack.decode(packed, ext_hook=extension)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return bytes(packed)


def json_of(value: Any) -> str:
    """JSON of what was described; what JSON has no form for is shown as its text."""
    shown = to_json(value, fallback=str, inf_nan_mode="strings", bytes_mode="base64")
    return shown.decode()


_STATES = {
    TraceStatus.UNKNOWN: "which was removed from the log",
    TraceStatus.RUNNING: "which is still running",
    TraceStatus.COMPLETED: "which completed",
    TraceStatus.FAILED: "which stays failed",
    TraceStatus.CANCELLED: "which stays cancelled",
}
_SHORT_NOTE = {
    Redriven.SUBMITTED: "redriven as trace {new}",
    Redriven.COMPLETED: "an earlier redrive was seen through, as trace {new}",
    Redriven.REMOVED: "the node has answered it since; only the letter is removed",
    Redriven.CANCELLED: "its redrive {new} was cancelled; only the letter is removed",
    Redriven.TAKEN: "somebody else redrives its trace; look again",
}


def outcome_of(plan: RedrivePlan, outcome: Redriven | None) -> str:
    """One line about a plan, or about what became of it."""
    ids = ", ".join(each.id[:SHORT] for each in plan.letters)
    old = f"trace {trace_of(plan.letters[0])}, {_STATES[plan.status]}"
    new = plan.unit.new_trace if plan.unit is not None else ""
    if plan.refused:
        text = f"not redriven: {plan.refused}"
    elif outcome is None and plan.answered:
        text = "would only remove it: the node has answered the input since"
    elif outcome is None:
        text = f"would be redriven as trace {new}"
    else:
        text = _SHORT_NOTE[outcome].format(new=new)
    note = f" ({plan.note})" if plan.note else ""
    return f"{ids}: {text}{note}; of {old}"


__all__ = ["SHORT", "described", "json_of", "line_of", "moment", "outcome_of", "trace_of"]
