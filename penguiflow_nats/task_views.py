"""Tasks as callers see them: snapshots, from requests and records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from penguiflow.durable.codec import ValueCodec
from penguiflow.remote_models import RemoteTaskSnapshot, RemoteTaskState, RemoteTaskStatus
from penguiflow_nats.call_questions import question_of, reply_of
from penguiflow_nats.call_wire import ANSWER, ASK, COMPLETED, CallRequest, TaskRecord


class TaskView:
    """Makes snapshots of the tasks of one agent."""

    def __init__(self, codec: ValueCodec, agent_url: str) -> None:
        self._codec = codec
        self._agent_url = agent_url

    def snapshot(
        self,
        task_id: str,
        record: TaskRecord | None,
        request: CallRequest | None = None,
        *,
        at: float = 0.0,
        history: Sequence[Any] | None = None,
        with_result: bool = True,
    ) -> RemoteTaskSnapshot:
        """A task at one moment.

        Args:
            task_id: The task, verbatim.
            record: Its newest record, if there is one.
            request: Its request, as far as it is known.
            at: When the record, or else the request, was stored; 0 when not known.
            history: Messages, questions and answers.
            with_result: Whether to unpack the result.

        Raises:
            MalformedValue: result or question is of a type that is not known here.
        """
        meta: dict[str, Any] = {}
        if record is not None:
            meta["epoch"] = record.epoch
            if record.error is not None:
                meta["code"] = record.error[0]
        if request is not None:
            meta["skill"] = request.skill
        known = record or request
        ended_well = record is not None and record.is_end and record.state == COMPLETED
        return RemoteTaskSnapshot(
            task_id=task_id,
            context_id=(request.context_id if request is not None else None)
            or (known.context_id if known is not None else None),
            status=self.status(record, at=at),
            result=self._codec.unpack(record.result)
            if with_result and ended_well and record is not None
            else None,
            history=history,
            agent_url=self._agent_url,
            meta=meta,
        )

    def status(self, record: TaskRecord | None, *, at: float = 0.0) -> RemoteTaskStatus:
        """Where a task stands by its newest record; the message is the question or the error."""
        timestamp = datetime.fromtimestamp(at, UTC).isoformat() if at else None
        message: Any = None
        if record is not None and record.kind == ASK:
            message = self._codec.unpack(question_of(record).value)
        elif record is not None and record.error is not None:
            message = record.error[1]
        return RemoteTaskStatus(state_of(record), message=message, timestamp=timestamp)

    def history(self, request: CallRequest | None, records: Sequence[TaskRecord]) -> list[Any]:
        """The messages of the caller and the questions of the agent, in their order."""
        found = [] if request is None else [self._codec.unpack_output(request.message)]
        for record in records:
            if record.kind == ASK:
                found.append(self._codec.unpack(question_of(record).value))
            elif record.kind == ANSWER:
                found.append(self._codec.unpack_output(reply_of(record).message))
        return found


def state_of(record: TaskRecord | None) -> RemoteTaskState:
    """The state that a newest record means."""
    if record is None:
        return RemoteTaskState.SUBMITTED
    if record.is_end or record.kind == ASK:
        return RemoteTaskState(record.state)
    return RemoteTaskState.WORKING


__all__ = ["TaskView", "state_of"]
