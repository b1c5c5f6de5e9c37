"""One prompt: the stream of a task as chunks, and one end whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from penguiflow.durable.wire_errors import WireError
from penguiflow.remote_models import (
    RemoteCallRequest,
    RemoteTaskAuthRequired,
    RemoteTaskInputRequired,
)
from penguiflow.remote_tasks import RemoteTaskFailed
from penguiflow.types import Message
from penguiflow_nats.answer import NatsStreamEvent
from penguiflow_nats.call_errors import AgentNotFound
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError, NoResponders, OutcomeUnknown, PayloadTooLarge
from penguiflow_nats.synadia.query import NotAnswered, query
from penguiflow_nats.synadia.wire import (
    ACK,
    BAD_REQUEST,
    BUSY,
    CONFLICT,
    FAILED,
    NOT_FOUND,
    UNAUTHORISED,
    Prompt,
    Refused,
    as_text,
    chunk,
    responses,
)
from penguiflow_nats.transport import NatsTransport

logger = logging.getLogger("penguiflow.nats")

_CODES = {
    "INVALID_INPUT": BAD_REQUEST,
    "MALFORMED": BAD_REQUEST,
    "UNKNOWN_SKILL": NOT_FOUND,
    "BUSY": BUSY,
    "CANCELLED": CONFLICT,
}
_MOST_KEPT = 1_000_000
"""Characters that are kept to recognise them when the agent begins anew."""
_LISTEN = 1.0
"""Seconds in which the server says that nobody listens to an answer any more."""
_CLEAN_UP = 5.0


class Diverged(Exception):
    """The agent began anew and says something else now."""


_TOLD: dict[type[Exception], tuple[int, str]] = {
    NotAnswered: (FAILED, "nobody answered what the agent asked"),
    RemoteTaskAuthRequired: (
        UNAUTHORISED,
        "the agent needs credentials, which this protocol cannot carry",
    ),
    AgentNotFound: (FAILED, "no replica of the agent took the prompt; try again later"),
    TimeoutError: (FAILED, "the agent did not answer in time"),
    PayloadTooLarge: (BAD_REQUEST, "the prompt is too long"),
    Diverged: (FAILED, "the agent began anew with another answer; ask again"),
}
"""What the client is told of an error."""


class Said:
    """What a client was told, so that an agent that begins anew goes on where it was.

    The protocol has no word for "forget what you heard". A new attempt that says the same again is
    passed on from where it says more; one that says something else ends the answer.
    """

    def __init__(self) -> None:
        self._kept = io.StringIO()
        self._length = 0
        self._again: str | None = None
        """What has to be said again, while it is."""

    @property
    def anything(self) -> bool:
        """Whether the client was told anything."""
        return self._length > 0

    def restart(self) -> None:
        """A new attempt begins. Raises `Diverged` when there is too much to compare."""
        if self._length > _MOST_KEPT:
            raise Diverged
        self._again = self._kept.getvalue()

    def new(self, text: str) -> str:
        """The part of a text that was not said yet. Raises `Diverged`."""
        if self._again:
            known = self._again[: len(text)]
            if not text.startswith(known):
                raise Diverged
            self._again, text = self._again[len(known) :], text[len(known) :]
        self._length += len(text)
        if self._length <= _MOST_KEPT:
            self._kept.write(text)
        return text

    def end(self) -> None:
        """The attempt ended. Raises `Diverged` when it said less than the one before."""
        if self._again:
            raise Diverged


class Answering:
    """Calls the agent for one prompt and tells the client.

    Args:
        connection: Where the client listens.
        transport: Calls the agent.
        request: The call.
        reply: Where the client listens.
        keepalive: Seconds between two signs of life.
        answer_wait: Seconds in which the client has to answer a question of the agent.
        payload: What the agent is given of an answer. Raises `Refused`.
        longest: Bytes that an answer may have.
    """

    def __init__(
        self,
        connection: Connection,
        transport: NatsTransport,
        request: RemoteCallRequest,
        reply: str,
        *,
        keepalive: float,
        answer_wait: float,
        payload: Callable[[Prompt], Any],
        longest: int,
    ) -> None:
        self._answer_wait = answer_wait
        self._payload = payload
        self._longest = longest
        self._connection = connection
        self._transport = transport
        self._request = request
        self._reply = reply
        self._keepalive = keepalive
        self._said = Said()
        self._gone = False
        self.error = ""
        """Why there is no answer; empty when there is one."""
        request.task_id = request.task_id or secrets.token_hex(16)

    async def run(self) -> None:
        """Answer, to the end. Cancelled, it cancels the task and tells the client.

        Raises:
            CancelledError: it was cancelled from outside.
        """
        outside = False
        self.say(chunk("task", {"id": self._request.task_id}))
        try:
            await self._relay()
        except asyncio.CancelledError:
            outside = not self._gone
            await self._cancel()
            self.refuse(Refused(FAILED, "the agent was stopped"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told of an end
            if not isinstance(error, RemoteTaskFailed):
                await self._cancel()
            self.refuse(self._explained(error))
        finally:
            self.say(b"")
        if outside:
            raise asyncio.CancelledError

    def say(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        """Tell the client; lost if there is no connection, as the protocol has it."""
        with contextlib.suppress(NatsError):
            self._connection.publish(self._reply, data, headers)

    def refuse(self, refused: Refused) -> None:
        """Tell the client of an error; the end still has to follow."""
        self.error = f"{refused.code} {refused}"
        self.say(b"", refused.headers())

    async def _relay(self) -> None:
        async with self._watched():
            while True:
                try:
                    async with aclosing(self._transport.stream(self._request)) as events:
                        async for event in events:
                            await self._pass_on(event)
                except RemoteTaskInputRequired as paused:
                    self._request = await self._answered(paused)
                else:
                    return

    async def _answered(self, paused: RemoteTaskInputRequired) -> RemoteCallRequest:
        """Put the agent's question to the client; gives the call that answers it."""
        prompt = await query(
            self._connection,
            self._reply,
            as_text(paused.snapshot.status.message),
            timeout=self._answer_wait,
            longest=self._longest,
            limit=self._max_payload,
        )
        message = self._request.message
        payload = self._payload(prompt)
        return replace(self._request, message=Message(payload=payload, headers=message.headers))

    async def _pass_on(self, event: NatsStreamEvent) -> None:
        if event.restarted:
            self._said.restart()
            return
        text = self._said.new(event.text) if event.text else ""
        if event.position and event.text is None and event.done:
            self._said.end()
            # A handler that streams says it all in its stream; its result is for programs.
            if event.result is not None and not self._said.anything:
                text = as_text(event.result)
        for part in responses(text, self._max_payload):
            await self._connection.writable()
            self.say(part)

    @property
    def _max_payload(self) -> int:
        client = self._connection.client
        return client.max_payload if client is not None else 1 << 16

    # Signs of life

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Tell the client regularly that its prompt is in work, and end the work when the server
        says that there is no client any more."""
        work = asyncio.current_task()

        async def beat() -> None:
            while True:
                await asyncio.sleep(self._keepalive)
                if not await self._anybody() and not await self._anybody():
                    self._gone = True
                    if work is not None:
                        work.cancel()
                    return

        heart = asyncio.create_task(beat(), name="penguiflow:prompt")
        try:
            yield
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)

    async def _anybody(self) -> bool:
        """Send a sign of life as a request, which the server refuses when nobody listens."""
        try:
            await self._connection.request(self._reply, ACK, timeout=_LISTEN)
        except NoResponders:
            return False
        except OutcomeUnknown:
            pass  # the client has nothing to say to it
        return True

    # Errors

    async def _cancel(self) -> None:
        task_id = str(self._request.task_id)
        try:
            async with asyncio.timeout(_CLEAN_UP):
                await self._transport.cancel(agent_url=self._request.agent_url, task_id=task_id)
        except (NatsError, WireError, TimeoutError) as error:
            logger.warning("task %s of a prompt is not cancelled: %s", task_id, error)

    def _explained(self, error: Exception) -> Refused:
        """What the client is told: never an exception's own text."""
        for kind, (code, text) in _TOLD.items():
            if isinstance(error, kind):
                return Refused(code, text)
        match error:
            case RemoteTaskFailed():
                return self._failure(error)
            case Refused():
                return error
            case _:
                logger.error("prompt of task %s failed", self._request.task_id, exc_info=error)
                return Refused(FAILED, f"the agent failed; task {self._request.task_id}")

    def _failure(self, error: RemoteTaskFailed) -> Refused:
        state, code = error.snapshot.status.state, error.code
        if code == "DEADLINE_EXCEEDED":
            return Refused(FAILED, "the agent did not answer in time")
        if code == "CANCELLED":
            return Refused(CONFLICT, "the task was cancelled")
        if state == "rejected":  # an answer of the agent's author, and meant to be read
            return Refused(
                _CODES.get(code, BAD_REQUEST), f"{code}: {error.snapshot.status.message}"
            )
        return Refused(FAILED, f"the agent failed; task {self._request.task_id}")


__all__ = ["Answering", "Diverged", "Said"]
