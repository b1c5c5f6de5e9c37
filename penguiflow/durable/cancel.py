"""Cancels a trace so that it ends in exactly one state, whatever commits at the same moment.

A commit holds only while its input is in the log. So removing what was read makes every commit
that follows from it impossible, and what slipped in before the removal is still there to be read.
The trace is cancelled when nothing is left to remove. If what slipped in completed the trace, the
cancel came too late and the end marker says so.
"""

from __future__ import annotations

import contextlib

import msgspec

from penguiflow.durable.envelope import CANCELLED, FAILED, OK, VERSION, Envelope, encode
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.log import AlreadyCommitted, Log, Stored
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import cancel_key, end_key, everything

CANCEL_TOPIC = "cancel"
"""The broadcast that tells every worker at once; its data is the trace id."""


async def cancel_trace(log: Log, trace_id: str, *, client: str, now: float) -> bool:
    """Cancel a trace. A call that was cut off is completed by the next one.

    Returns:
        Whether the trace is cancelled; False when it is not known or has ended otherwise.

    Raises:
        LogError: the log does not answer.
    """
    trace = trace_token(trace_id)
    books = Books.of(trace, await log.read(everything(trace)))
    if books.status is not TraceStatus.RUNNING:
        return books.status is TraceStatus.CANCELLED
    marker = Envelope(
        v=VERSION,
        tenant=log.tenant,
        flow=log.flow,
        trace=trace_id,
        outcome=CANCELLED,
        client=client,
        submitted=now,
    )
    with contextlib.suppress(AlreadyCommitted):
        await log.append(cancel_key(trace), encode(marker))
    log.broadcast(CANCEL_TOPIC, trace_id.encode())
    outcome = await _remove(log, trace)
    with contextlib.suppress(AlreadyCommitted):
        await log.append(end_key(trace), encode(msgspec.structs.replace(marker, outcome=outcome)))
    books = Books.of(trace, await log.read(everything(trace)))
    return books.status is TraceStatus.CANCELLED


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
