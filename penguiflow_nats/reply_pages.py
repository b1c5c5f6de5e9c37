"""Reads a stream from a sequence on, page by page, without a consumer (ADR-31 batches)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError
from penguiflow_nats.incoming import Reply
from penguiflow_nats.jetstream import timestamp_ns

_BATCH = 256
_BYTES = 1024 * 1024


class Entry(NamedTuple):
    """A stored message."""

    sequence: int
    subject: str
    data: bytes
    stored_at: float = 0.0
    """Seconds since the epoch by the server's clock."""


class Page(NamedTuple):
    """Messages in the order of the stream, and whether there are more."""

    entries: list[Entry]
    more: bool


async def read_page(
    connection: Connection, stream: str, subject: str | None, *, start: int
) -> Page:
    """The next messages of a subject, possibly with wildcards, from sequence `start` on;
    of every subject without one, which costs the server the same however many there are.

    Raises:
        NatsError: as `Connection.request` does.
    """
    body: dict[str, int | str] = {"seq": start, "batch": _BATCH, "max_bytes": _BYTES}
    if subject is not None:
        body["next_by_subj"] = subject
    entries: list[Entry] = []
    pending = 0

    def receive(reply: Reply) -> bool:
        nonlocal pending
        headers = reply.headers or {}
        pending = int(headers.get("Nats-Num-Pending", 0))
        if "Nats-Subject" in headers:
            sequence = int(headers["Nats-Sequence"])
            at = timestamp_ns(headers["Nats-Time-Stamp"]) / 1e9
            entries.append(Entry(sequence, headers["Nats-Subject"], reply.data, at))
            return False
        status, description = reply.status_line()
        if status not in (204, 404):
            raise ApiError(status or 500, 0, description or "not a direct-get answer")
        return True

    subject_of_api = f"$JS.API.DIRECT.GET.{stream}"
    await connection.request_many(subject_of_api, msgspec.json.encode(body), receive=receive)
    return Page(entries, bool(entries) and pending > 0)
