"""Reads what a log holds under some filters: all of it as of one moment, however much it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from penguiflow_nats.errors import TooManyResults
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_types import StoredMessage

_MANY: Final = 512
"""Subjects asked for in one request, when there are too many for a filter."""
_AT_ONCE: Final = 64
"""Single messages asked for at once."""


async def read_newest(
    jetstream: JetStream, stream: str, filters: Sequence[str]
) -> list[StoredMessage]:
    """The newest message of each subject that matches, in no order.

    All are as of one moment: when a message is there, so is every earlier one that matches. A join
    relies on that to number its inputs.

    Raises:
        NatsError: as `JetStream` does.
    """
    try:
        return await jetstream.direct_get_many(stream, filters)
    except TooManyResults:
        return await _read_many(jetstream, stream, filters)


async def _read_many(
    jetstream: JetStream, stream: str, filters: Sequence[str]
) -> list[StoredMessage]:
    """By the subjects that the leader names. The filters are asked for one after the other, so
    what came in meanwhile is left out: of one filter it is there, of another it is not."""
    upto = (await jetstream.stream_info(stream)).state.last_seq
    subjects: list[str] = []
    for subject in filters:
        info = await jetstream.stream_info(stream, subjects_filter=subject)
        subjects.extend(info.state.subjects or ())
    found: list[StoredMessage] = []
    for start in range(0, len(subjects), _MANY):
        part = subjects[start : start + _MANY]
        answer = await jetstream.direct_get_many(stream, part)
        found.extend(answer)
        if len(answer) < len(part):
            found.extend(await _behind(jetstream, stream, part, answer))
    return [message for message in found if message.sequence <= upto]


async def _behind(
    jetstream: JetStream, stream: str, subjects: Sequence[str], answer: Sequence[StoredMessage]
) -> list[StoredMessage]:
    """What a replica that is behind its leader left out, from the leader; the rest was removed."""
    there = {message.subject for message in answer}
    missing = [subject for subject in subjects if subject not in there]
    found: list[StoredMessage | None] = []
    for start in range(0, len(missing), _AT_ONCE):
        part = missing[start : start + _AT_ONCE]
        found += await asyncio.gather(*(jetstream.get_last(stream, subject) for subject in part))
    return [message for message in found if message is not None]


__all__ = ["read_newest"]
