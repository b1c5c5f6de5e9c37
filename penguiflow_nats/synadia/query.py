"""A question to the client in the middle of an answer, and its reply."""

from __future__ import annotations

import asyncio
import secrets

from penguiflow_nats.connection import Connection
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.synadia.wire import FAILED, Prompt, Refused, chunk, read_prompt


class NotAnswered(Exception):
    """The client did not reply in time."""


async def query(
    connection: Connection, reply: str, question: str, *, timeout: float, longest: int, limit: int
) -> Prompt:
    """Ask and wait.

    Args:
        connection: Where the client listens.
        reply: Where it listens.
        question: What to ask.
        timeout: Seconds to wait.
        longest: Bytes that the reply may have.
        limit: Bytes that a message may have.

    Raises:
        NotAnswered: there was no reply in time.
        Refused: the reply is no text, or the question does not fit into a message.
        NatsError: the question cannot be sent.
    """
    inbox = connection.new_inbox()
    asked = {"id": secrets.token_hex(8), "reply_subject": inbox, "prompt": question}
    data = chunk("query", asked)
    if len(data) > limit:
        raise Refused(FAILED, "the agent asks a question that is too long for a message")
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def heard(message: Incoming) -> None:
        if not answered.done():  # there is one reply to a question
            answered.set_result(message.data)

    subscription = connection.subscribe(inbox, heard)
    try:
        connection.publish(reply, data)
        async with asyncio.timeout(timeout):
            return read_prompt(await answered, longest)
    except TimeoutError:
        raise NotAnswered from None
    finally:
        subscription.unsubscribe()


__all__ = ["NotAnswered", "query"]
