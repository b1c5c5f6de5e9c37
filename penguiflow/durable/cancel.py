"""Cancels a trace so that it ends in exactly one state, whatever commits at the same moment.

A commit holds only while its input is in the log. So removing what was read makes every commit
that follows from it impossible, and what slipped in before the removal is still there to be read.
The trace is cancelled when nothing is left to remove. If what slipped in completed the trace, the
cancel came too late and the end marker says so.
"""

from __future__ import annotations

import contextlib
import re

import msgspec

from penguiflow.durable.envelope import CANCELLED, FAILED, OK, VERSION, Envelope, encode
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.log import AlreadyCommitted, Log, Stored
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import cancel_key, end_key, everything
from penguiflow.telemetry.instrument import Announce

CANCEL_TOPIC = "cancel"
"""The broadcast that tells every worker at once; its data is what `announced` reads."""

_TRACED = re.compile(r"(.*)\0(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})", re.DOTALL)


def announced(data: bytes) -> tuple[str, str | None]:
    """The trace id in a broadcast, and the W3C trace context of the cancel, if it has one."""
    text = data.decode("utf-8", "replace")
    traced = _TRACED.fullmatch(text)
    return (text, None) if traced is None else (traced[1], traced[2])


async def cancel_trace(
    log: Log, trace_id: str, *, client: str, now: float, announce: Announce | None = None
) -> bool:
    """Cancel a trace. A call that was cut off is completed by the next one.

    `announce` gives the W3C trace context of the cancel.

    Returns:
        Whether the trace is cancelled; False when it is not known or has ended otherwise.

    Raises:
        LogError: the log does not answer.
    """
    trace = trace_token(trace_id)
    books = Books.of(trace, await log.read(everything(trace)))
    if books.status is not TraceStatus.RUNNING:
        return books.status is TraceStatus.CANCELLED
    traceparent = None if announce is None else announce(_submission(books), None)
    marker = Envelope(
        v=VERSION,
        tenant=log.tenant,
        flow=log.flow,
        trace=trace_id,
        outcome=CANCELLED,
        client=client,
        submitted=now,
        traceparent=traceparent,
    )
    with contextlib.suppress(AlreadyCommitted):
        await log.append(cancel_key(trace), encode(marker))
    text = trace_id if traceparent is None else f"{trace_id}\0{traceparent}"
    log.broadcast(CANCEL_TOPIC, text.encode())
    outcome = await _remove(log, trace)
    with contextlib.suppress(AlreadyCommitted):
        await log.append(end_key(trace), encode(msgspec.structs.replace(marker, outcome=outcome)))
    books = Books.of(trace, await log.read(everything(trace)))
    return books.status is TraceStatus.CANCELLED


def _submission(books: Books) -> str | None:
    """The trace context that the trace was submitted with."""
    envelopes = (entry.envelope for entry in books.entries)
    found = (e.traceparent for e in envelopes if e is not None and e.traceparent is not None)
    return next(found, None)


async def _remove(log: Log, trace: str) -> str:
    """Remove entries until none is left, or until what is left completes the trace.

    Returns:
        The outcome of the trace.
    """
    seen: dict[int, Stored] = {}
    while True:
        entries = await log.read(everything(trace))
        left = [entry for entry in entries if not entry.key.kind.is_marker]
        seen.update((entry.sequence, entry) for entry in left)
        books = Books.of(trace, seen.values())
        if books.completed_by is not None:
            return FAILED if books.failures else OK
        if not left:
            return CANCELLED
        await log.purge(trace, upto=left[-1].sequence)
