"""`TaskBoard` on NATS: tasks are durable calls of an agent, its replicas are the workers.

board = NatsTaskBoard("nats://127.0.0.1:4222", agent="helper")
service = A2AService(flow, agent_card=card, store=board)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from penguiflow.async_tasks import end_tasks
from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.tokens import is_token
from penguiflow.durable.wire_errors import NotEncodable
from penguiflow.serving.board import Following, NotWaiting, OrderTooLarge, UnknownOrder
from penguiflow.serving.handling import TaskHandler
from penguiflow.serving.models import TaskOrder, TaskPage, TaskQuery, TaskSheet
from penguiflow.telemetry.instrument import Instrument
from penguiflow.types import Message
from penguiflow_nats import error_codes
from penguiflow_nats.agent_options import AgentOptions
from penguiflow_nats.agent_replica import Agent
from penguiflow_nats.agent_skills import AgentContext, Skill
from penguiflow_nats.board_ends import BoardEnds
from penguiflow_nats.board_index import BoardIndex
from penguiflow_nats.board_listing import list_tasks
from penguiflow_nats.board_names import BoardNames, board_config
from penguiflow_nats.board_notes import BoardNotes
from penguiflow_nats.board_orders import SKILL, Orders
from penguiflow_nats.board_reading import GRACE, BoardReader
from penguiflow_nats.board_site import BoardSite
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_errors import NotAsked
from penguiflow_nats.call_follow_up import FollowUp
from penguiflow_nats.call_questions import Dialogue, reply_of
from penguiflow_nats.call_streams import CallStorage, ensure_call_streams
from penguiflow_nats.call_subjects import CallNames, checked_name, task_token
from penguiflow_nats.call_wire import ASK, END, START, CallRequest, TaskRecord, encode
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, PayloadTooLarge
from penguiflow_nats.imported import refuse_imported
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.object_errors import ObjectTooLarge
from penguiflow_nats.persist import persist
from penguiflow_nats.runtime import Server, connected
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.streams import DAY, ensure
from penguiflow_nats.task_states import TaskStates

_NO_ROOM = (error_codes.MAXIMUM_REACHED, error_codes.INSUFFICIENT_RESOURCES)
_BOARD_BYTES = 256 * 1024**2


class NatsTaskBoard:
    """A board of one agent on NATS. Any number of processes use it at once.

    Args:
        server: Where the server is, or a connection that the caller owns. By default what
            PENGUIFLOW_NATS_URL says, else the local server.
        agent: Name of the agent: processes with the same name share the tasks and the work.
        tenant: Whose streams.
        options: How this process works on tasks; `retain` and `answer_wait` hold in any case.
        storage: How much the streams hold and how safely, if they have to be created.
        unreachable: Seconds for which the server may be away while something is asked of it.
        sweep: Seconds between looks for tasks that should be over and have nobody to say so.
    """

    def __init__(
        self,
        server: Server | None = None,
        *,
        agent: str,
        tenant: str = "default",
        options: AgentOptions | None = None,
        storage: CallStorage | None = None,
        unreachable: float = 10.0,
        sweep: float = 30.0,
    ) -> None:
        self.agent = checked_name(agent)
        self.tenant = tenant
        self._server: Server = server or os.environ.get(
            "PENGUIFLOW_NATS_URL", "nats://127.0.0.1:4222"
        ).split(",")
        self._options = options or AgentOptions(concurrency=64)
        self._storage = storage
        self._unreachable = unreachable
        self._sweep_every = sweep
        self._stack = contextlib.AsyncExitStack()
        self._parts: _Parts | None = None

    # Life

    async def start(
        self, handler: TaskHandler | None = None, *, telemetry: Instrument | None = None
    ) -> None:
        """Connect, make the streams that are missing; with a handler, be a worker too."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connected(self._server))
            refuse_imported(connection, "a board of tasks")
            parts = self._parts = _Parts(await self._opened(connection))
            sweeping = asyncio.create_task(parts.ends.sweep_every(self._sweep_every, parts.look))
            stack.push_async_callback(end_tasks, sweeping)
            if handler is not None:
                agent = self._worker(parts, handler, telemetry)
                await agent.start(self._storage)
                parts.worker = agent
            self._stack = stack.pop_all()

    async def stop(self, *, drain: float = 30.0) -> None:
        """Finish what is in work within `drain` seconds, hand the rest back."""
        parts, self._parts = self._parts, None
        if parts is not None and parts.worker is not None:
            await parts.worker.stop(drain=drain)
        await self._stack.aclose()

    async def _opened(self, connection: Connection) -> BoardSite:
        names, jetstream = CallNames(self.tenant), JetStream(connection)
        storage = self._storage or CallStorage()
        board = BoardNames(self.tenant, self.agent)
        config = board_config(
            board, replicas=storage.replicas, max_bytes=_BOARD_BYTES, age=max(DAY, storage.age)
        )

        async def prepare() -> None:
            await ensure_call_streams(jetstream, names, storage)
            await ensure(jetstream, config)

        await persist(connection, prepare, limit=self._unreachable)
        clock, claims = ServerClock(connection, names.calls_stream), CallClaims(connection, names)
        claims.replicas = storage.replicas
        await clock.synchronise()
        codec = ValueCodec(TypeMap())
        return BoardSite(
            connection=connection,
            jetstream=jetstream,
            names=names,
            states=TaskStates(jetstream, names, limit=self._unreachable),
            claims=claims,
            clock=clock,
            orders=Orders(codec, self.tenant, self.agent),
            index=BoardIndex(jetstream, board, limit=self._unreachable),
            notes=BoardNotes(jetstream, board, limit=self._unreachable),
            agent=self.agent,
            retain=self._options.retain,
            answer_wait=self._options.answer_wait,
            unreachable=self._unreachable,
        )

    def _worker(self, parts: _Parts, handler: TaskHandler, telemetry: Instrument | None) -> Agent:
        async def handle(message: Message, ctx: AgentContext) -> Any:
            return await handler(Orders.content(message), ctx)

        return Agent(
            parts.site.connection,
            tenant=self.tenant,
            agent=self.agent,
            skills={SKILL: Skill(SKILL, handle)},
            options=self._options,
            told=parts.told,
            telemetry=telemetry,
        )

    def _ready(self) -> _Parts:
        if self._parts is None:
            msg = "the board is not started: await board.start() first"
            raise RuntimeError(msg)
        return self._parts

    # Making and following

    @contextlib.asynccontextmanager
    async def submit(self, order: TaskOrder) -> AsyncIterator[Following]:
        """See `TaskBoard`."""
        parts = self._ready()
        request = await self._packed(parts.site, order)
        async with contextlib.AsyncExitStack() as stack:
            reader, task = parts.reader, order.task_id
            new = await stack.enter_async_context(
                reader.following(task, owner=order.owner, order=order)
            )
            if await self._commit(parts.site, order, request):
                yield new
                return
            await stack.aclose()
            async with reader.following(task, owner=order.owner) as existing:
                yield existing

    async def _packed(
        self, site: BoardSite, order: TaskOrder, *, answers: bool = False
    ) -> CallRequest:
        try:
            request = site.orders.request(order, answers=answers)
            keep = (order.budget or DAY) + site.retain
            message = await site.claims.check_in_output(
                task_token(order.task_id), request.message, keep=keep
            )
        except (NotEncodable, ObjectTooLarge) as error:
            raise OrderTooLarge(str(error)) from error
        if message is not request.message:
            request = msgspec.structs.replace(request, message=message)
        return request

    async def _commit(self, site: BoardSite, order: TaskOrder, request: CallRequest) -> bool:
        """Store the request; whether it made a task."""
        subject = site.names.request(self.agent, task_token(order.task_id))
        data, tries = encode(request), 0
        due = 0.0 if order.budget is None else site.clock.now() + order.budget

        async def append() -> bool:
            nonlocal tries
            tries += 1
            try:
                await site.jetstream.append(subject, data)
            except ApiError as error:
                if error_codes.SUBJECT_TAKEN_TEXT not in error.description:
                    raise
                return False
            return True

        async def index() -> None:
            await site.index.write(
                owner=order.owner,
                context=order.context_id,
                task=order.task_id,
                state="submitted",
                due=due,
            )

        storing = persist(site.connection, append, limit=self._unreachable, also=_NO_ROOM)
        try:
            if order.key:  # the task may exist, and its entry say more
                made = await storing
                if made:
                    await index()
            else:
                made, _ = await asyncio.gather(storing, index())
        except PayloadTooLarge as error:
            raise OrderTooLarge(str(error)) from error
        return made or (tries > 1 and not order.key)

    @contextlib.asynccontextmanager
    async def answer(self, order: TaskOrder) -> AsyncIterator[Following]:
        """See `TaskBoard`."""
        parts = self._ready()
        await parts.reader.order(order.task_id, order.owner)
        await self._answered(parts.site, order)
        async with parts.reader.following(order.task_id, owner=order.owner) as following:
            yield following

    async def _answered(self, site: BoardSite, order: TaskOrder) -> None:
        token = task_token(order.task_id)
        held = await site.states.read(token)
        if held is None:
            raise NotWaiting(order.task_id)
        if order.key:
            history = await site.states.history(token, up_to=held.sequence)
            answers = Dialogue.of([each.record for each in history]).answered
            if any(reply_of(answer).idempotency_key == order.key for _, answer in answers):
                return
        if held.record.is_end or (held.record.kind == START and held.record.epoch == 1):
            raise NotWaiting(order.task_id)
        request = await self._packed(site, order, answers=True)
        follow_up = FollowUp(site.jetstream, site.names, site.states, task=token)
        try:
            place = await follow_up.settle(request, lambda limit: min(limit, self._unreachable))
        except (NotAsked, TimeoutError) as error:
            raise NotWaiting(order.task_id) from error
        if place is None:
            raise NotWaiting(order.task_id)
        due = 0.0 if order.budget is None else site.clock.now() + order.budget
        site.index.tell(
            owner=order.owner,
            context=order.context_id,
            task=order.task_id,
            state="working",
            due=due,
        )

    @contextlib.asynccontextmanager
    async def follow(self, task_id: str, *, owner: str) -> AsyncIterator[Following]:
        """See `TaskBoard`."""
        parts = self._ready()
        _check_id(task_id)
        async with parts.reader.following(task_id, owner=owner) as following:
            yield following

    # Looking and ending

    async def look(self, task_id: str, *, owner: str, pieces: bool = True) -> TaskSheet | None:
        """See `TaskBoard`."""
        try:
            return await self._ready().look(task_id, owner, pieces=pieces)
        except UnknownOrder:
            return None

    async def list(self, owner: str, query: TaskQuery) -> TaskPage:
        """See `TaskBoard`."""
        parts = self._ready()
        return await list_tasks(parts.site.index, parts.reader, owner, query)

    async def cancel(self, task_id: str, *, owner: str) -> TaskSheet:
        """See `TaskBoard`."""
        parts = self._ready()
        _check_id(task_id)
        order, _ = await parts.reader.order(task_id, owner)
        await parts.ends.cancel(task_id)
        site = parts.site
        sheet = await parts.look(task_id, owner, pieces=True)
        site.index.tell(
            owner=owner,
            context=order.context_id,
            task=task_id,
            state=sheet.state.value,
            ttl=site.retain,
        )
        return sheet

    # Notes

    async def put_note(self, task_id: str, name: str, value: bytes, *, owner: str) -> None:
        """See `TaskBoard`."""
        parts = self._ready()
        await parts.reader.order(task_id, owner)
        await parts.site.notes.put(task_id, name, value)

    async def notes(self, task_id: str, *, owner: str) -> dict[str, bytes]:
        """See `TaskBoard`."""
        parts = self._ready()
        _check_id(task_id)
        await parts.reader.order(task_id, owner)
        return await parts.site.notes.of(task_id)

    async def delete_note(self, task_id: str, name: str, *, owner: str) -> None:
        """See `TaskBoard`."""
        parts = self._ready()
        _check_id(task_id)
        await parts.reader.order(task_id, owner)
        await parts.site.notes.delete(task_id, name)


class _Parts:
    """What a started board is made of."""

    def __init__(self, site: BoardSite) -> None:
        self.site = site
        self.ends = BoardEnds(site)
        self.reader = BoardReader(site, self.ends.expire)
        self.worker: Agent | None = None

    async def look(
        self, task_id: str, owner: str | None = None, *, pieces: bool = False
    ) -> TaskSheet:
        """A task as it is; one that should be over is ended first. Raises `UnknownOrder`."""
        _check_id(task_id)
        read = await self.reader.read(task_id, owner=owner, pieces=pieces)
        if read.due and read.due + GRACE < self.site.clock.now():
            await self.ends.expire(task_id)
            read = await self.reader.read(task_id, owner=owner, pieces=pieces)
        return read.sheet

    def told(self, request: CallRequest, record: TaskRecord) -> None:
        """A record was written here: the task is the newest that changed."""
        site, order = self.site, self.site.orders.about(request)
        over, state, left = record.kind == END, record.state or "working", order.budget
        if record.kind == ASK:
            left = site.answer_wait
        elif record.kind == START:
            state = "working"
        # Later than it has to be over, if it waited: whoever finds it then looks at its records.
        due = 0.0 if over or left is None else site.clock.now() + left
        site.index.tell(
            owner=order.owner,
            context=order.context_id,
            task=order.task_id,
            state=state,
            due=due,
            ttl=site.retain if over else None,
        )


def _check_id(task_id: str) -> None:
    """Whether a text may be the id of a task here. Raises `UnknownOrder`."""
    if not is_token(task_id):
        raise UnknownOrder(task_id)


__all__ = ["NatsTaskBoard"]
