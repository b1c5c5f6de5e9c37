"""Notes of tasks on a board."""

from __future__ import annotations

from penguiflow.durable.tokens import token
from penguiflow_nats import error_codes
from penguiflow_nats.board_names import BoardNames
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist


class BoardNotes:
    """The notes of one board. Every method raises NatsError when the server is away too long."""

    def __init__(self, jetstream: JetStream, names: BoardNames, *, limit: float) -> None:
        self._jetstream = jetstream
        self._names = names
        self._limit = limit

    async def put(self, task_id: str, name: str, value: bytes) -> None:
        """Write a note, or write over it. Its name is a token."""
        subject = self._names.note(token(task_id), name)
        await persist(
            self._jetstream.connection,
            lambda: self._jetstream.append(subject, value),
            limit=self._limit,
            also=(error_codes.MAXIMUM_REACHED,),
        )

    async def of(self, task_id: str) -> dict[str, bytes]:
        """All notes of a task by name."""
        subject = self._names.note(token(task_id), "*")
        found = await persist(
            self._jetstream.connection,
            lambda: self._jetstream.direct_get_many(self._names.stream, [subject]),
            limit=self._limit,
        )
        return {each.subject.rpartition(".")[2]: each.data for each in found}

    async def delete(self, task_id: str, name: str) -> None:
        """Remove a note, if it is there."""
        subject = self._names.note(token(task_id), name)
        await persist(
            self._jetstream.connection,
            lambda: self._jetstream.purge_stream(self._names.stream, subject=subject),
            limit=self._limit,
        )
