"""The task methods of `NatsTransport`: start, look, list, follow."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from penguiflow.durable.wire_errors import WireError
from penguiflow.remote_models import (
    RemoteCallRequest,
    RemotePushNotificationBinding,
    RemoteTaskEvent,
    RemoteTaskPage,
    RemoteTaskSnapshot,
    RemoteTaskState,
)
from penguiflow.telemetry.calls import following, observed, tell
from penguiflow.telemetry.instrument import CallInstrument
from penguiflow_nats.answer import Answer
from penguiflow_nats.call import Call, CallSite
from penguiflow_nats.call_claims import claim_of
from penguiflow_nats.call_errors import UnknownTask
from penguiflow_nats.call_span import followed
from penguiflow_nats.call_subjects import task_of, task_token
from penguiflow_nats.call_wire import CallRequest, TaskRecord, read_request
from penguiflow_nats.jetstream import timestamp_ns
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_feed import Asked
from penguiflow_nats.reply_pages import Entry, Page, read_page
from penguiflow_nats.stream_types import StoredMessage
from penguiflow_nats.task_events import TaskEvents
from penguiflow_nats.task_states import Held
from penguiflow_nats.task_views import TaskView, state_of

_LARGEST_PAGE = 1000
_NO_PUSH = (
    "agents on NATS push no notifications: subscribe_task follows a task from any process, and "
    "get_task looks at it"
)


class TaskMethods(ABC):
    """`SupportsRemoteTasks` over NATS."""

    _probe: CallInstrument | None

    @abstractmethod
    async def _site(self) -> CallSite: ...

    @abstractmethod
    def _agent(self, agent_url: str) -> str: ...

    @abstractmethod
    async def _call(self, request: RemoteCallRequest) -> Call: ...

    async def resolve(self, agent_url: str) -> str:
        """The address by name."""
        return agent_url

    async def send_task(
        self, request: RemoteCallRequest, *, blocking: bool = False
    ) -> RemoteTaskSnapshot:
        """Start a task, or answer what a paused one asks.

        A task that is not waited for is not withdrawn when there is no agent: it waits for one,
        at most until `request.timeout_s`.

        Args:
            request: As for `send`; its `task_id` names the task, or else one is made.
            blocking: Wait until the task ends, or needs input or credentials.

        Raises:
            TimeoutError: it did neither within `request.timeout_s`.
            AgentNotFound: no replica took it; it was withdrawn. Only when blocking.
            NatsError, WireError: as `send`.
        """
        request.agent_url = await self.resolve(request.agent_url)
        with observed(self._probe, request, streaming=False) as (carrying, _):
            return await self._send_task(carrying, blocking=blocking)

    async def _send_task(self, request: RemoteCallRequest, *, blocking: bool) -> RemoteTaskSnapshot:
        call = await self._call(request)
        with contextlib.closing(call):
            call.open()
            await call.submit(request, streaming=True)
            if not blocking:
                return await self.get_task(agent_url=request.agent_url, task_id=call.task_id)
            answer = Answer(call, request.agent_url, (await self._site()).codec)
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, TaskRecord):
                        return answer.view.snapshot(call.task_id, piece)
                    if isinstance(piece, Asked):
                        return answer.view.snapshot(call.task_id, piece.record)
        msg = "an answer ended without an end"
        raise RuntimeError(msg)

    async def get_task(
        self, *, agent_url: str, task_id: str, history_length: int | None = None
    ) -> RemoteTaskSnapshot:
        """The task as it is now; `history` has the newest messages if a length is given.

        Raises:
            UnknownTask: there is no such task of this agent.
            NatsError, WireError: it cannot be read.
        """
        agent_url = await self.resolve(agent_url)
        site, agent, token = await self._site(), self._agent(agent_url), task_token(task_id)
        held = await site.states.read(token)
        subject = site.names.request(agent, token)
        found = await persist(
            site.jetstream.connection,
            lambda: site.jetstream.get_last(site.names.calls_stream, subject),
            limit=site.unreachable,
        )
        if found is None and (held is None or held.record.agent != agent):
            raise UnknownTask(task_id)
        entry = None if found is None else _entry(found)
        return await self._snapshot(
            site, TaskView(site.codec, agent_url), entry, held, task_id, length=history_length
        )

    async def list_tasks(
        self,
        *,
        agent_url: str,
        context_id: str | None = None,
        status: RemoteTaskState | None = None,
        page_size: int = 100,
        page_token: str | None = None,
        history_length: int | None = None,
        include_artifacts: bool = False,
    ) -> RemoteTaskPage:
        """Tasks in the order in which they were submitted.

        The token names a place in that order, so tasks that come or go meanwhile neither hide
        nor repeat others. `total_size` is 0: tasks are not counted.

        Args:
            agent_url: Whose tasks.
            context_id: Only those of this conversation.
            status: Only those in this state.
            page_size: How many, from 1 to 1000.
            page_token: `next_page_token` of the page before.
            history_length: As in `get_task`.
            include_artifacts: Whether to give the results as well.

        Raises:
            ValueError: size or token are none.
            NatsError, WireError: they cannot be read.
        """
        if not 1 <= page_size <= _LARGEST_PAGE:
            msg = f"page_size is {page_size}; use 1 to {_LARGEST_PAGE}"
            raise ValueError(msg)
        cursor, more = _cursor(page_token), True
        agent_url = await self.resolve(agent_url)
        site, agent = await self._site(), self._agent(agent_url)
        view, tasks = TaskView(site.codec, agent_url), list[RemoteTaskSnapshot]()
        while more and len(tasks) < page_size:
            page = await self._requests(site, agent, cursor)
            more = page.more
            held = await self._states(site, page.entries)
            for entry in page.entries:
                if len(tasks) == page_size:
                    more = True
                    break
                cursor = entry.sequence
                state = held.get(task_of(entry.subject))
                if not _matches(entry, state, context_id, status):
                    continue
                tasks.append(
                    await self._snapshot(
                        site, view, entry, state, length=history_length, result=include_artifacts
                    )
                )
        return RemoteTaskPage(tasks, str(cursor) if more else "", page_size)

    async def subscribe_task(
        self, *, agent_url: str, task_id: str
    ) -> AsyncGenerator[RemoteTaskEvent, None]:
        """The task as it is now, then everything that happens to it, once and in order.

        Kinds: `task` (with `task`, first and last), `status` (with `status`) and `text`. A replica
        that takes over says so by a `status` with `meta={"restart": True, "epoch": n}`.

        Raises:
            UnknownTask: there is no such task of this agent.
            ReplyGap, NatsError, WireError: as `resume`.
        """
        agent_url = await self.resolve(agent_url)
        site, agent = await self._site(), self._agent(agent_url)
        await self.get_task(agent_url=agent_url, task_id=task_id)  # is it there, and this agent's?
        call, made = Call(site, agent, task_id, timeout=None), None
        if self._probe is not None:
            made = await followed(site, agent, task_id, agent_url=agent_url)
        with following(self._probe, made, attempt=0) as span, contextlib.closing(call):
            call.open()
            record = await call.join_now()
            if record is not None:
                record = await site.claims.record(record)
            events = TaskEvents(task_id, agent_url, site.codec)
            yield events.first(record)
            if record is not None and record.is_end:
                return
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    for event in events.of(piece):
                        tell(self._probe, span, event)
                        yield event

    # Push notifications

    async def set_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str, config: Mapping[str, Any]
    ) -> RemotePushNotificationBinding:
        """Refused: raises NotImplementedError."""
        raise NotImplementedError(_NO_PUSH)

    async def get_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str
    ) -> RemotePushNotificationBinding:
        """There are none: raises KeyError."""
        raise KeyError(config_id)

    async def delete_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str
    ) -> None:
        """There are none: raises KeyError."""
        raise KeyError(config_id)

    async def list_task_push_notification_configs(
        self, *, agent_url: str, task_id: str, page_size: int = 100, page_token: str | None = None
    ) -> list[RemotePushNotificationBinding]:
        """There are none."""
        return []

    # Parts

    async def _requests(self, site: CallSite, agent: str, cursor: int) -> Page:
        connection, names = site.jetstream.connection, site.names
        return await persist(
            connection,
            lambda: read_page(
                connection, names.calls_stream, names.request(agent, "*"), start=cursor + 1
            ),
            limit=site.unreachable,
        )

    async def _states(self, site: CallSite, entries: list[Entry]) -> dict[str, Held]:
        """The newest records of tasks, by token."""
        subjects = [site.names.state(task_of(entry.subject)) for entry in entries]
        if not subjects:
            return {}
        found = await persist(
            site.jetstream.connection,
            lambda: site.jetstream.direct_get_many(site.names.replies_stream, subjects),
            limit=site.unreachable,
        )
        return {task_of(each.subject): Held.of(each) for each in found}

    async def _snapshot(
        self,
        site: CallSite,
        view: TaskView,
        entry: Entry | None,
        held: Held | None,
        task_id: str = "",
        *,
        length: int | None,
        result: bool = True,
    ) -> RemoteTaskSnapshot:
        request = None if entry is None else _request(entry)
        history = None
        if length:
            token = task_token(task_id) if entry is None else task_of(entry.subject)
            up_to = 0 if held is None else held.sequence
            found = [] if held is None else await site.states.history(token, up_to=up_to)
            records = [await site.claims.record(each.record) for each in found]
            if request is not None and claim_of(request.message.payload) is None:
                history = view.history(request, records)[-length:]
            else:  # a large message is removed as soon as the task is over
                history = view.history(None, records)[-length:]
        record = None if held is None else held.record
        if record is not None and result:
            record = await site.claims.record(record)
        return view.snapshot(
            task_id or (request.task if request is not None else ""),
            record,
            request,
            at=_stored_at(held, entry),
            history=history,
            with_result=result,
        )


def _entry(found: StoredMessage) -> Entry:
    return Entry(found.sequence, found.subject, found.data, timestamp_ns(found.timestamp) / 1e9)


def _stored_at(held: Held | None, entry: Entry | None) -> float:
    if held is not None:
        return held.stored_at
    return 0.0 if entry is None else entry.stored_at


def _request(entry: Entry) -> CallRequest | None:
    with contextlib.suppress(WireError):
        return read_request(entry.data)
    return None  # rubbish, which its agent refuses


def _matches(
    entry: Entry, held: Held | None, context_id: str | None, status: RemoteTaskState | None
) -> bool:
    request = _request(entry)
    if request is None or (context_id is not None and request.context_id != context_id):
        return False
    return status is None or state_of(None if held is None else held.record) == status


def _cursor(token: str | None) -> int:
    if not token:
        return 0
    if not token.isdecimal() or len(token) > 20:
        msg = f"{token[:40]!r} is no token of a page"
        raise ValueError(msg)
    return int(token)


__all__ = ["TaskMethods"]
