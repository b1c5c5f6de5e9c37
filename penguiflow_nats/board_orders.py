"""Orders as requests to an agent, and what is read of its tasks as news. Pure."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import NONE
from penguiflow.remote_models import RemoteTaskState
from penguiflow.serving import models
from penguiflow.serving.models import TaskOrder
from penguiflow.types import Headers, Message
from penguiflow_nats.call_questions import question_of, reply_of
from penguiflow_nats.call_wire import CallRequest, Piece, TaskRecord
from penguiflow_nats.reply_feed import Answered, Asked, Events, News, Started

SKILL = "task"
"""The one skill of an agent that works for a board."""
_OWNER = "owner"


class Orders:
    """Turns orders into requests of one agent, and back.

    Args:
        codec: For values.
        tenant: Of the agent, as the server knows it.
        agent: Its name.
    """

    def __init__(self, codec: ValueCodec, tenant: str, agent: str) -> None:
        self._codec = codec
        self._tenant = tenant
        self._agent = agent
        self._headers = Headers(tenant=tenant)

    def request(self, order: TaskOrder, *, answers: bool = False) -> CallRequest:
        """The request of an order. One that answers has a key in any case, so that it is compared
        by it alone. Raises NotEncodable."""
        message = Message(payload=order.content, headers=self._headers, trace_id=order.task_id)
        metadata = {**order.metadata, _OWNER: order.owner}
        return CallRequest(
            tenant=self._tenant,
            agent=self._agent,
            task=order.task_id,
            skill=SKILL,
            message=self._codec.pack_output(message, (), order.task_id),
            context_id=order.context_id,
            metadata=Raw(self._codec.pack(metadata, "metadata")),
            budget=order.budget,
            submitted=message.ts,
            caller="board",
            idempotency_key=order.key or (secrets.token_hex(16) if answers else ""),
            traceparent=order.traceparent,
        )

    def order(self, request: CallRequest) -> TaskOrder:
        """The order behind a request. Raises MalformedValue."""
        content = self.content(self._codec.unpack_output(request.message))
        return dataclasses.replace(self.about(request), content=content)

    def about(self, request: CallRequest) -> TaskOrder:
        """The same without its content. Raises MalformedValue."""
        metadata: Any = self._codec.unpack(request.metadata)
        texts = {str(key): str(value) for key, value in metadata.items()} if metadata else {}
        return TaskOrder(
            task_id=request.task,
            owner=texts.pop(_OWNER, ""),
            context_id=request.context_id or request.task,
            content=b"",
            budget=request.budget,
            key=request.idempotency_key,
            metadata=texts,
            traceparent=request.traceparent,
        )

    @staticmethod
    def content(message: Any) -> bytes:
        """The content that a message carries."""
        payload = message.payload if isinstance(message, Message) else message
        return bytes(payload) if isinstance(payload, bytes | bytearray) else b""

    def news(self, heard: Iterable[News], end_at: float) -> list[models.News]:
        """What was heard, as a board tells it.

        Args:
            heard: Starts, events, questions, answers and the end; claims checked out.
            end_at: When the end was stored.

        Raises:
            MalformedValue, MalformedEnvelope: a value cannot be read.
        """
        told: list[models.News] = []
        for each in heard:
            if isinstance(each, Events):
                told += map(self._piece, each.pieces)
            else:
                told.append(self._one(each, end_at))
        return told

    def _piece(self, piece: Piece) -> models.Piece:
        meta = self._codec.unpack(piece.meta) if piece.meta != NONE else None
        return models.Piece(piece.text, piece.done, meta)

    def _one(self, heard: Started | Asked | Answered | TaskRecord, end_at: float) -> models.News:
        match heard:
            case Started():
                return models.Began(heard.at, heard.again)
            case Asked():
                question = self._codec.unpack(question_of(heard.record).value)
                return models.Asked(heard.at, RemoteTaskState(heard.record.state), question)
            case Answered():
                message = self._codec.unpack_output(reply_of(heard.record).message)
                return models.Answered(heard.at, self.content(message))
            case _:
                return self._ended(heard, end_at)

    def _ended(self, end: TaskRecord, at: float) -> models.Ended:
        state = RemoteTaskState(end.state)
        done = state is RemoteTaskState.COMPLETED
        result = self._codec.unpack(end.result) if done else None
        return models.Ended(at, state, result, end.error)


def live(news: Iterable[models.News]) -> tuple[models.News, ...]:
    """What counts: pieces of attempts that were replaced are left out."""
    kept: list[models.News] = []
    for each in news:
        if isinstance(each, models.Began) and each.again:
            kept = [earlier for earlier in kept if not isinstance(earlier, models.Piece)]
        kept.append(each)
    return tuple(kept)
