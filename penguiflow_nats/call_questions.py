"""Questions that an agent asks in the middle of a task, and their answers; both are records. Pure.

A question is a record of kind `ask`, its answer one of kind `answer`. Both lie in the chain of the
task's states, so there is one answer per question, and whoever works on the task next finds all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from penguiflow.durable.envelope import NONE, Output
from penguiflow.durable.wire_errors import MalformedEnvelope
from penguiflow_nats.call_wire import ANSWER, ASK, CallRequest, TaskRecord


class Question(Struct, array_like=True, frozen=True):
    """What an agent wants to know; the `result` of a record of kind `ask`."""

    number: int
    """Questions of a task count from 0; one that is asked again keeps its number."""
    value: Raw = NONE
    """The question, packed."""


class Reply(Struct, array_like=True, frozen=True):
    """What the agent is told; the `result` of a record of kind `answer`."""

    number: int
    message: Output
    """The answer, in the form of the request's message."""
    budget: float | None = None
    """Seconds from the moment the server stored the answer to the new deadline."""
    idempotency_key: str = ""


W = TypeVar("W", Question, Reply)
_encode = msgspec.msgpack.Encoder().encode


def _reader(kind: type[W]) -> Callable[[TaskRecord], W]:
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(record: TaskRecord) -> W:
        try:
            return decode(record.result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedEnvelope(str(error)) from error

    return read


question_of = _reader(Question)
reply_of = _reader(Reply)
"""What a record of the kind says. Raises `MalformedEnvelope`."""


def packed(value: Question | Reply) -> Raw:
    """For the `result` of a record."""
    return Raw(_encode(value))


def reply_to(asked: TaskRecord, request: CallRequest) -> TaskRecord:
    """The record that answers a question by a request for the same task."""
    reply = Reply(
        question_of(asked).number, request.message, request.budget, request.idempotency_key
    )
    return TaskRecord(
        kind=ANSWER,
        epoch=asked.epoch,
        agent=asked.agent,
        skill=asked.skill,
        context_id=asked.context_id,
        state=asked.state,
        result=packed(reply),
        events=asked.events,
    )


def says_the_same(earlier: CallRequest | Reply, request: CallRequest) -> bool:
    """Whether a request is one that was sent before: by its key, or by its whole message."""
    if request.idempotency_key and earlier.idempotency_key:
        return earlier.idempotency_key == request.idempotency_key
    return _encode(earlier.message) == _encode(request.message)


class Dialogue(NamedTuple):
    """What a task asked and was told, from all of its records."""

    answered: list[tuple[TaskRecord, TaskRecord]]
    """Questions with their answers."""
    open: TaskRecord | None
    """The question that has no answer; asked again if its replica died meanwhile."""

    @classmethod
    def of(cls, records: Sequence[TaskRecord]) -> Dialogue:
        """From the records in their order."""
        answered: list[tuple[TaskRecord, TaskRecord]] = []
        asked: TaskRecord | None = None
        for record in records:
            if record.kind == ASK:
                asked = record
            elif record.kind == ANSWER and asked is not None:
                answered.append((asked, record))
                asked = None
        return cls(answered, asked)
