"""One call of an agent from the caller's side: submit, follow, give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import NONE
from penguiflow.remote_models import RemoteCallRequest
from penguiflow_nats import error_codes
from penguiflow_nats.agent_janitor import forget
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_errors import AgentNotFound, UnknownTask
from penguiflow_nats.call_follow_up import FollowUp
from penguiflow_nats.call_subjects import CallNames, task_token
from penguiflow_nats.call_wire import (
    END,
    EVERYTHING,
    REJECTED,
    START,
    CallRequest,
    TaskRecord,
    encode,
    read_record,
)
from penguiflow_nats.errors import ApiError, NoResponders, NotConnected, OutcomeUnknown
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_feed import News, ReplyFeed
from penguiflow_nats.streams import DAY
from penguiflow_nats.task_states import NOTHING, StateMoved, TaskStates

_POLL = 0.5
"""Seconds of silence after which a caller looks into the stream; doubles each time."""
_LONGEST_POLL = 30.0
_POLLS_PER_SECOND = 200
"""Looks into the stream that all calls of a transport together may take."""
_PLAIN_LIMIT = 30.0
"""Seconds that a plain call without a timeout waits."""
_KEEP = float(DAY)
"""Seconds for which a large message of a call without a timeout is kept: as long as its request."""
_NO_ROOM = (error_codes.MAXIMUM_REACHED, error_codes.INSUFFICIENT_RESOURCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSite:
    """What all calls of a transport share."""

    names: CallNames
    jetstream: JetStream
    states: TaskStates
    claims: CallClaims
    codec: ValueCodec
    caller: str
    agent_wait: float | None
    unreachable: float
    idle_timeout: float | None
    time_to_live: float = float(DAY)
    """Seconds after which a call without a timeout ends, whatever became of its caller."""
    waiting: set[Call] = field(default_factory=set)
    """Calls that are not over."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a task's answer: an epoch, and how many of its events were taken."""

    epoch: int = 0
    taken: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.taken}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position behind its text. Raises `ValueError`."""
        epoch, _, taken = text.partition(".")
        if not (epoch.isdecimal() and taken.isdecimal()):
            msg = f"{text[:40]!r} is no position in an answer"
            raise ValueError(msg)
        return cls(int(epoch), int(taken))


class Call:
    """A task that somebody waits for."""

    def __init__(
        self,
        site: CallSite,
        agent: str,
        task_id: str,
        *,
        timeout: float | None,
        after: Position | None = None,
    ) -> None:
        self.agent = agent
        self.task_id = task_id
        self._site = site
        self._token = task_token(task_id)
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._end_at = None if timeout is None else self._loop.time() + timeout
        after = after or Position()
        self._feed = ReplyFeed(
            site.jetstream.connection,
            site.names,
            self._token,
            epoch=after.epoch,
            number=after.taken,
        )
        self._heard_anything = False

    @property
    def position(self) -> Position:
        """What was taken so far."""
        return Position(self._feed.epoch, self._feed.number)

    def open(self) -> None:
        """Listen. Before the request goes out, so that nothing is missed."""
        self._site.waiting.add(self)
        self._feed.open()

    def close(self) -> None:
        """Listen no more."""
        self._site.waiting.discard(self)
        self._feed.close()

    # Submitting

    async def submit(self, request: RemoteCallRequest, *, streaming: bool) -> None:
        """Store the request. The same task id again is the same task: then this joins it, and if
        it waits for input or credentials, another message than before is the answer.

        Raises:
            NotEncodable: the message cannot travel.
            NotAsked: the task was answered by others.
            ObjectTooLarge: the message is larger than anybody would read.
            NatsError: the server is away for too long, or refuses.
        """
        wanted = self._request(request, streaming=streaming)
        message = await self._site.claims.check_in_output(
            self._token, wanted.message, keep=self._timeout or _KEEP
        )
        if message is not wanted.message:
            wanted = msgspec.structs.replace(wanted, message=message)
        data, taken = encode(wanted), False
        jetstream = self._site.jetstream
        subject = self._site.names.request(self.agent, self._token)

        async def append() -> None:
            nonlocal taken
            try:
                await jetstream.append(subject, data)
            except ApiError as error:
                if error_codes.SUBJECT_TAKEN_TEXT not in error.description:
                    raise
                taken = True

        limit = self._bounded(self._site.unreachable)
        await persist(jetstream.connection, append, limit=limit, also=_NO_ROOM)
        if taken:
            await self._follow_up(wanted)

    async def _follow_up(self, request: CallRequest) -> None:
        site = self._site
        follow_up = FollowUp(site.jetstream, site.names, site.states, task=self._token)
        place = await follow_up.settle(request, self._bounded)
        if place is not None:
            self._feed.seek(place.epoch, place.number)
        self._feed.catch_up()

    def _request(self, request: RemoteCallRequest, *, streaming: bool) -> CallRequest:
        message, codec = request.message, self._site.codec
        metadata = request.metadata
        own = metadata is not None and metadata != message.meta
        left = None if self._end_at is None else max(0.0, self._end_at - self._loop.time())
        return CallRequest(
            tenant=self._site.names.tenant,
            agent=self.agent,
            task=self.task_id,
            skill=request.skill,
            message=codec.pack_output(message, (), message.trace_id),
            streaming=streaming,
            context_id=request.context_id,
            metadata=Raw(codec.pack(dict(metadata or {}), "metadata")) if own else NONE,
            budget=self._site.time_to_live if left is None else left,
            submitted=message.ts,
            caller=self._site.caller,
            idempotency_key=request.idempotency_key or "",
            traceparent=request.traceparent,
            tracestate=request.tracestate,
        )

    async def ask(self, request: RemoteCallRequest) -> TaskRecord:
        """A plain call: request and reply, nothing stored. It cannot be cancelled or resumed.

        Raises:
            AgentNotFound: no replica listens.
            TimeoutError: no answer came in time; whether the agent worked on it is unknown.
            NotConnected: nothing was sent.
        """
        site, limit = self._site, self._bounded(_PLAIN_LIMIT)
        site.waiting.add(self)  # until it is closed
        subject, data = site.names.ask(self.agent), encode(self._request(request, streaming=False))
        try:
            reply = await site.jetstream.connection.request(subject, data, timeout=limit)
        except NoResponders:
            raise AgentNotFound(self.agent, site.names.tenant, 0.0) from None
        except NotConnected:
            raise
        except OutcomeUnknown as error:
            msg = f"agent {self.agent!r} did not answer within {limit:.3g} s: {error.reason}"
            raise TimeoutError(msg) from error
        return read_record(reply.data)

    async def join(self) -> None:
        """Follow a task that exists. Raises `UnknownTask`."""
        site = self._site
        if await site.states.read(self._token) is None:
            subject = site.names.request(self.agent, self._token)
            stream = site.names.calls_stream
            found = await persist(
                site.jetstream.connection,
                lambda: site.jetstream.get_last(stream, subject),
                limit=site.unreachable,
            )
            if found is None:
                raise UnknownTask(self.task_id)
        self._feed.catch_up()

    async def join_now(self) -> TaskRecord | None:
        """Follow a task from now on; gives its newest record. Raises `UnknownTask`."""
        await self.join()
        await self._feed.skip_to_now()
        record = self._feed.record
        if record is None and self._feed.epoch > 0:
            # Its events are here, its start is on the way.
            record = TaskRecord(kind=START, epoch=self._feed.epoch, agent=self.agent)
        self._heard_anything = True
        return record

    # Following

    async def pieces(self) -> AsyncGenerator[News, None]:
        """Starts, events, questions and their answers, then the end.

        Raises:
            TimeoutError: the time is up, or the agent fell silent for too long.
            AgentNotFound: no replica took the call; it was withdrawn.
            ReplyGap, NatsError, WireError: as `ReplyFeed.next`.
        """
        while True:
            piece = self._feed.at_hand() or await self._next()
            self._heard_anything = True
            if isinstance(piece, TaskRecord):
                yield await self._site.claims.record(piece)
                return
            yield piece

    async def _next(self) -> News:
        # There may be thousands of calls to one agent: they look seldom, and not all at once.
        began, crowd = self._loop.time(), len(self._site.waiting) / _POLLS_PER_SECOND
        poll = max(_POLL, crowd) * random.uniform(1.0, 2.0)  # noqa: S311 - spreads load
        while True:
            piece = await self._feed.next(self._wait(began, poll))
            if piece is not None:
                return piece
            self._check_limits(began)
            if not self._heard_anything:
                await self._look_for_agent(began)
            if self._loop.time() - began >= poll:
                poll = min(max(_LONGEST_POLL, crowd), 2 * poll)
                self._feed.catch_up()

    def _wait(self, began: float, poll: float) -> float:
        """Seconds until something has to be looked at."""
        site, now = self._site, self._loop.time()
        ends = [began + poll]
        if self._end_at is not None:
            ends.append(self._end_at)
        if site.idle_timeout is not None:
            ends.append(began + site.idle_timeout)
        if site.agent_wait is not None and not self._heard_anything:
            ends.append(began + site.agent_wait)
        later = [end for end in ends if end > now]
        return max(0.001, min(later) - now) if later else 0.001

    def _check_limits(self, began: float) -> None:
        now, idle = self._loop.time(), self._site.idle_timeout
        if self._end_at is not None and now >= self._end_at:
            msg = f"agent {self.agent!r} did not answer within {self._timeout:.3g} s"
            raise TimeoutError(msg)
        if idle is not None and now - began >= idle:
            msg = f"agent {self.agent!r} was silent for {idle:g} s"
            raise TimeoutError(msg)

    def _bounded(self, limit: float) -> float:
        if self._end_at is None:
            return limit
        return max(0.0, min(limit, self._end_at - self._loop.time()))

    # Nobody there

    async def _look_for_agent(self, began: float) -> None:
        """Withdraw the call when nobody takes any. Raises `AgentNotFound`."""
        site = self._site
        waited = self._loop.time() - began
        if site.agent_wait is None or waited < site.agent_wait or await self._agent_is_there():
            return
        end = TaskRecord(
            kind=END,
            epoch=0,
            agent=self.agent,
            state=REJECTED,
            events=EVERYTHING,
            error=("NO_AGENT", "no replica of the agent took the call"),
        )
        try:
            await site.states.advance(self._token, end, after=NOTHING)
        except StateMoved:
            self._feed.catch_up()  # somebody took it in the last moment
            return
        await forget(site.jetstream, site.names, self.agent, self._token)
        raise AgentNotFound(self.agent, site.names.tenant, waited)

    async def _agent_is_there(self) -> bool:
        """Whether a replica answers; or asks for calls, or has some."""
        site = self._site
        try:
            # A busy replica may have no pull open at the moment, so the consumer alone can
            # look deserted; and one that takes no plain calls does not answer here.
            await site.jetstream.connection.request(site.names.ask(self.agent), timeout=2.0)
        except NoResponders:
            return await self._consumer_is_used()
        except OutcomeUnknown:
            pass
        return True

    async def _consumer_is_used(self) -> bool:
        names = self._site.names
        try:
            info = await self._site.jetstream.consumer_info(
                names.calls_stream, names.consumer(self.agent)
            )
        except ApiError as error:
            if error.err_code == error_codes.CONSUMER_NOT_FOUND:
                return False
            raise
        except OutcomeUnknown:
            return True  # not known: it is asked again
        return info.num_waiting > 0 or info.num_ack_pending > 0


__all__ = ["Call", "CallSite", "Position"]
