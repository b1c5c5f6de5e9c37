"""One replica of an agent: takes calls, keeps their leases, hears of cancels, drains."""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from collections.abc import Iterable, Sequence

import msgspec

from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.wire_errors import EnvelopeTooNew, MalformedEnvelope, WireError
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.serving.flow import FlowHandler
from penguiflow.settle import settle_entry
from penguiflow.telemetry.instrument import AgentInstrument, Instrument
from penguiflow_nats.agent_answer import Answerer
from penguiflow_nats.agent_delivery import CallDelivery
from penguiflow_nats.agent_janitor import Janitor
from penguiflow_nats.agent_options import AgentOptions
from penguiflow_nats.agent_plain import QUEUE, PlainCalls
from penguiflow_nats.agent_service import Endpoint, MicroService
from penguiflow_nats.agent_site import AgentSite, Settled, Told
from penguiflow_nats.agent_skills import Skill, types_of
from penguiflow_nats.agent_span import begin, end
from penguiflow_nats.agent_task import AgentTask
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_streams import CallStorage, ensure_call_streams
from penguiflow_nats.call_subjects import CallNames, checked_name, task_of, task_token
from penguiflow_nats.call_wire import CallRequest, TaskRecord, read_request
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.puller import ConsumerGone, Puller
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.stream_message import StreamMessage
from penguiflow_nats.stream_types import SECOND, ConsumerConfig
from penguiflow_nats.subscription import Subscription
from penguiflow_nats.task_states import Held, TaskStates

logger = logging.getLogger("penguiflow.nats")

_TOO_NEW_DELAY = 30.0
"""Seconds for which a request of a newer version is left to newer replicas."""
_SYNCHRONISE = 60.0
_ASK_FOR = 256
"""Tasks whose state is asked for in one request."""


class Agent:
    """One replica of an agent."""

    def __init__(
        self,
        connection: Connection,
        *,
        tenant: str,
        agent: str,
        skills: dict[str, Skill],
        options: AgentOptions,
        types: Iterable[type] = (),
        registry: ModelRegistry | None = None,
        telemetry: Instrument | None = None,
        told: Told | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.name = agent = checked_name(agent)
        self.options = options
        self._connection = connection
        self._names = names = CallNames(tenant)
        self._jetstream = jetstream = JetStream(connection)
        self._clock = ServerClock(connection, names.calls_stream)
        self._flows = _flow_handlers(skills, registry)
        answerer = Answerer(
            agent=agent,
            instance=self.id,
            skills=skills,
            flows=self._flows,
            codec=ValueCodec(TypeMap([*types, *types_of(skills.values())])),
            retain=options.retain,
        )
        self._site = AgentSite(
            names=names,
            jetstream=jetstream,
            states=TaskStates(jetstream, names),
            claims=CallClaims(connection, names),
            clock=self._clock,
            answerer=answerer,
            answer_wait=options.answer_wait,
            probe=_probe(telemetry, agent, tenant, self.id),
            told=told,
        )
        self._plain = PlainCalls(
            connection, self._site, limit=options.plain_concurrency, counted=self._count
        )
        self._running: dict[str, AgentTask] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._puller = Puller(
            connection,
            stream=names.calls_stream,
            consumer=names.consumer(agent),
            deliver=self._deliver,
            window=options.concurrency,
            on_gone=self._gone,
        )
        claims = self._site.claims
        self._janitor = Janitor(connection, jetstream, names, clock=self._clock, claims=claims)
        self._endpoints = {name: self._endpoint(skill) for name, skill in skills.items()}
        self._service = self._described(tenant)
        self._cancels: Subscription | None = None
        self._heart: asyncio.Task[None] | None = None

    @property
    def in_work(self) -> int:
        """Calls in work now."""
        return len(self._running)

    # Life

    async def start(self, storage: CallStorage | None = None) -> None:
        """Join the agent's replicas and begin to work."""
        await ensure_call_streams(self._jetstream, self._names, storage)
        if storage is not None:
            self._site.claims.replicas = storage.replicas
        await self._clock.synchronise()
        config = ConsumerConfig(
            durable_name=self._names.consumer(self.name),
            filter_subject=self._names.request(self.name, "*"),
            ack_wait=round(self.options.lease * SECOND),
            max_ack_pending=8192,
        )
        await self._jetstream.create_consumer(self._names.calls_stream, config)
        for flow in self._flows.values():
            flow.start()
        self._cancels = self._connection.subscribe(
            self._names.cancel(self.name), self._heard_cancel
        )
        await self._janitor.start()
        self._puller.start()
        self._plain.start()
        self._service.start()
        await self._connection.flush()  # whoever is told that it started finds it listening
        self._heart = asyncio.create_task(self._beat(), name="penguiflow:agent")

    async def stop(self, *, drain: float = 30.0) -> int:
        """Take nothing more, finish what is in work within `drain` seconds, hand back the rest.

        Returns:
            How many calls were handed back; another replica starts them anew.
        """
        self._service.stop()
        self._puller.pause()
        plain = asyncio.create_task(self._plain.stop(drain=drain))
        waiting = [task for task in self._running.values() if task.is_waiting]
        for task in waiting:  # their callers may take hours
            task.stop(Settled.AGAIN)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=drain)
        left = list(self._running.values())
        for task in left:
            task.stop(Settled.AGAIN)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5.0)
        await plain
        await self._puller.stop()
        await self._janitor.stop()
        if self._cancels is not None:
            self._cancels.unsubscribe()
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        for flow in self._flows.values():
            await flow.stop()
        return len(left) + len(waiting)

    def _described(self, tenant: str) -> MicroService:
        options = self.options
        return MicroService(
            self._connection,
            name=self.name,
            instance=self.id,
            version=options.version,
            description=options.description,
            metadata={"penguiflow": "1", "tenant": tenant, **(options.metadata or {})},
            endpoints=list(self._endpoints.values()),
        )

    def _endpoint(self, skill: Skill) -> Endpoint:
        metadata = {
            "skill": skill.name,
            "description": skill.description,
            "takeover": skill.takeover,
        }
        for which in ("input", "output"):
            schema = skill.schema(which)
            if schema is not None:
                metadata[f"{which}_schema"] = msgspec.json.encode(schema).decode()
        return Endpoint(skill.name, self._names.ask(self.name), QUEUE, metadata)

    def _count(self, skill: str, seconds: float, end: TaskRecord) -> None:
        endpoint = self._endpoints.get(skill)
        if endpoint is not None:
            endpoint.count(seconds, " ".join(end.error or ()))

    def _gone(self, report: ConsumerGone) -> None:
        logger.error("agent %s takes no more calls: %s", self.name, report.reason)

    # Taking calls

    def _deliver(self, message: StreamMessage) -> None:
        delivery = CallDelivery(message)
        token = task_of(message.subject)
        running = self._running.get(token)
        if running is not None:
            running.adopt(delivery)
            self._puller.release()
            return
        task = AgentTask(self._site, token, delivery, pausing=self._pausing)
        self._running[token] = task
        work = asyncio.get_running_loop().create_task(self._work(task))
        self._tasks.add(work)
        work.add_done_callback(functools.partial(self._finished, task))

    def _pausing(self, task: AgentTask) -> None:
        """A call that waits for its caller makes room for others; once for each call, so that
        those which were answered may be more than there is room for."""
        outside = sum(not each.takes_room for each in self._running.values())
        if task.takes_room and outside < self.options.waiting:
            task.takes_room = False
            self._puller.release()

    def _finished(self, task: AgentTask, work: asyncio.Task[None]) -> None:
        self._tasks.discard(work)
        if task.takes_room:
            self._puller.release()
        if not work.cancelled() and (error := work.exception()) is not None:
            # Not settled: the lease ends and the call comes again.
            logger.error("call to agent %s not settled: %r", self.name, error)

    async def _work(self, task: AgentTask) -> None:
        began = asyncio.get_running_loop().time()
        try:
            settled = await self._settled(task)
        finally:
            del self._running[task.task]
        if task.end is not None:
            self._count(task.skill, asyncio.get_running_loop().time() - began, task.end)
        if settled is Settled.DONE:
            await settle_entry(task.delivery)
        elif settled is Settled.AGAIN:
            await settle_entry(task.delivery, again_after=0.0)

    async def _settled(self, task: AgentTask) -> Settled:
        delivery = task.delivery
        too_often = delivery.num_delivered > self.options.max_deliveries
        try:
            request = read_request(delivery.data)
        except EnvelopeTooNew as error:
            if too_often:
                return await task.refuse("TOO_NEW", str(error))
            await settle_entry(delivery, again_after=_TOO_NEW_DELAY)
            return Settled.LEAVE
        except MalformedEnvelope as error:
            return await task.refuse("MALFORMED", str(error))
        problem = self._objection(request, task.task)
        if problem is not None:
            return await task.refuse("MALFORMED", problem, request)
        if too_often:
            times = self.options.max_deliveries
            detail = f"delivered {times} times and never ended; it may end its process"
            return await task.refuse("POISON", detail, request)
        return await self._observed(task, request)

    async def _observed(self, task: AgentTask, request: CallRequest) -> Settled:
        probe = self._site.probe
        if probe is None:
            return await task.run(request)
        task.span = begin(probe, request, attempt=task.delivery.num_delivered)
        try:
            return await task.run(request)
        finally:
            end(probe, task.span, task.end or task.ended_elsewhere)

    def _objection(self, request: CallRequest, token: str) -> str | None:
        """Whether the request says something else than its subject."""
        if request.tenant != self._names.tenant:
            return f"request of tenant {request.tenant[:100]!r} on the subject of another tenant"
        if request.agent != self.name or task_token(request.task) != token:
            return "the request names another agent or task than its subject"
        return None

    # Leases and cancels

    async def _beat(self) -> None:
        """Renew leases and look for tasks that ended elsewhere, three times per lease."""
        loop = asyncio.get_running_loop()
        synchronise_at = loop.time() + _SYNCHRONISE
        while True:
            await asyncio.sleep(self.options.lease / 3)
            for task in self._running.values():
                task.delivery.in_progress()
            try:
                await self._look_at(list(self._running))
                if loop.time() > synchronise_at:
                    await self._clock.synchronise()
                    synchronise_at = loop.time() + _SYNCHRONISE
            except (NatsError, WireError) as error:
                logger.debug("agent %s: %s", self.name, error)

    async def _look_at(self, tasks: Sequence[str]) -> None:
        for start in range(0, len(tasks), _ASK_FOR):
            subjects = [self._names.state(task) for task in tasks[start : start + _ASK_FOR]]
            stream = self._names.replies_stream
            for found in await self._jetstream.direct_get_many(stream, subjects):
                task = self._running.get(task_of(found.subject))
                if task is not None:
                    task.saw(Held.of(found))

    def _heard_cancel(self, message: Incoming) -> None:
        """Somebody says that a task was cancelled: look whether it is so."""
        token = message.data.decode("utf-8", "replace")
        if token in self._running:
            look = asyncio.get_running_loop().create_task(self._check(token))
            self._tasks.add(look)
            look.add_done_callback(self._tasks.discard)

    async def _check(self, token: str) -> None:
        try:
            held = await self._site.states.read(token)
        except (NatsError, WireError):
            return  # the next beat looks again
        task = self._running.get(token)
        if held is not None and task is not None:
            task.saw(held)


def _probe(
    telemetry: Instrument | None, agent: str, tenant: str, instance: str
) -> AgentInstrument | None:
    if telemetry is None:
        return None
    return telemetry.agent(agent, tenant=tenant, instance=instance)


def _flow_handlers(
    skills: dict[str, Skill], registry: ModelRegistry | None
) -> dict[str, FlowHandler]:
    """One handler per flow, however many skills it serves."""
    by_flow: dict[int, FlowHandler] = {}
    found: dict[str, FlowHandler] = {}
    for name, skill in skills.items():
        flow = skill.handler
        if isinstance(flow, PenguiFlow):
            found[name] = by_flow.setdefault(id(flow), FlowHandler(flow, registry))
    return found


__all__ = ["Agent"]
