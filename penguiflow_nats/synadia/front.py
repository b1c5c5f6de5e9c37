"""An agent as a client of the protocol sees it: registered, alive, and open for prompts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from penguiflow.remote_models import RemoteCallRequest
from penguiflow.types import Headers, Message
from penguiflow_nats.agent_service import Endpoint, MicroService
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.imported import refuse_imported
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.plain_values import PlainTransport
from penguiflow_nats.runtime import Server, connected
from penguiflow_nats.subscription import Subscription
from penguiflow_nats.synadia.answer import Answering
from penguiflow_nats.synadia.names import SERVICE, VERSION, Names
from penguiflow_nats.synadia.wire import (
    ACK,
    BAD_REQUEST,
    BUSY,
    FAILED,
    Prompt,
    Refused,
    longest_prompt,
    read_prompt,
    written,
)
from penguiflow_nats.transport import NatsTransport

_TASK = re.compile(rb"[0-9a-f]{32}")


def _text(prompt: Prompt) -> Any:
    return prompt.text


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontOptions:
    """How prompts are answered. All times are in seconds."""

    concurrency: int = 64
    """Prompts in work at once; more are refused."""
    limit: float = 600.0
    """Longest time for a prompt; the clients wait no longer."""
    keepalive: float = 30.0
    """Between two signs of life within an answer."""
    answer_wait: float = 300.0
    """How long a client may take to answer a question of the agent; then the task is cancelled."""
    heartbeat: int = 30
    """Between two heartbeats."""
    payload: Callable[[Prompt], Any] = _text
    """What the skill is given, of a prompt and of an answer to a question of the agent; the text
    by default."""
    version: str = "1.0.0"
    description: str = ""


class SynadiaFront:
    """Answers prompts for one session of an agent, by calls of one of its skills.

    It calls the agent as anybody does, so it may run beside a replica or anywhere else, and any
    number of times: prompts go to one of them.
    """

    def __init__(
        self,
        connection: Connection,
        transport: NatsTransport,
        *,
        agent: str,
        skill: str,
        owner: str,
        session: str = "default",
        name: str | None = None,
        options: FrontOptions | None = None,
    ) -> None:
        self.id = secrets.token_hex(11)
        self.names = Names.of(name or agent, owner, session)
        self.options = options or FrontOptions()
        self._connection = connection
        self._transport = transport
        self._agent = agent
        self._skill = skill
        self._identity = {"agent": self.names.agent, "owner": owner, "session": session}
        client = connection.client
        self._longest = longest_prompt(client.max_payload if client is not None else 1 << 20)
        self._prompt, self._status, self._cancel = self._endpoints()
        self._service = MicroService(
            connection,
            name=SERVICE,
            instance=self.id,
            version=self.options.version,
            description=self.options.description,
            metadata={**self._identity, "protocol_version": VERSION, "skill": skill},
            endpoints=[self._prompt, self._status, self._cancel],
        )
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._heart: asyncio.Task[None] | None = None

    def _endpoints(self) -> tuple[Endpoint, Endpoint, Endpoint]:
        limits = {"max_payload": written(self._longest), "attachments_ok": "false"}
        prompt, status, cancel = (
            Endpoint(verb, self.names.subject(verb), SERVICE, limits if verb == "prompt" else {})
            for verb in ("prompt", "status", "cancel")
        )
        return prompt, status, cancel

    @property
    def in_work(self) -> int:
        """Prompts in work now."""
        return len(self._tasks)

    # Life

    async def start(self) -> None:
        """Be seen and take prompts."""
        callbacks = (
            (self._prompt, self._prompted),
            (self._status, self._asked_for_status),
            (self._cancel, self._asked_to_cancel),
        )
        for endpoint, callback in callbacks:
            self._subscriptions.append(
                self._connection.subscribe(endpoint.subject, callback, queue=SERVICE)
            )
        self._service.start()
        await self._connection.flush()  # whoever hears the first heartbeat finds it listening
        self._heart = asyncio.create_task(self._beat(), name="penguiflow:heartbeat")

    def pause(self) -> None:
        """Be seen no more, and take no more prompts."""
        self._service.stop()
        for subscription in self._subscriptions:
            subscription.unsubscribe()
        if self._heart is not None:
            self._heart.cancel()

    async def stop(self, *, drain: float = 30.0) -> None:
        """Take no more, finish what is in work within `drain` seconds, cancel the rest."""
        self.pause()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=drain)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *filter(None, [self._heart]), return_exceptions=True)

    # Heartbeats

    def _heartbeat(self) -> bytes:
        prompt = {"subject": self._prompt.subject, "metadata": self._prompt.metadata}
        return msgspec.json.encode(
            {
                **self._identity,
                "instance_id": self.id,
                "ts": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "interval_s": self.options.heartbeat,
                "protocol_version": VERSION,
                "endpoints": {"prompt": prompt},
            }
        )

    async def _beat(self) -> None:
        while True:
            self._publish(self.names.subject("hb"), self._heartbeat())
            await asyncio.sleep(self.options.heartbeat)

    def _publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        """Nothing in this protocol is certain to arrive."""
        with contextlib.suppress(NatsError):
            self._connection.publish(subject, data, headers)

    # Requests

    def _asked_for_status(self, message: Incoming) -> None:
        if message.reply:
            self._publish(message.reply, self._heartbeat())
            self._status.count(0.0, "")

    def _prompted(self, message: Incoming) -> None:
        if not message.reply:
            return  # nobody would hear the answer
        try:
            prompt = read_prompt(message.data, self._longest)
            request = self._request(prompt)
        except Refused as refused:
            self._publish(message.reply, b"", refused.headers())
            self._publish(message.reply, b"")
            self._prompt.count(0.0, f"{refused.code} {refused}")
            return
        self._publish(message.reply, ACK)
        self._spawn(self._answer(request, message.reply))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _request(self, prompt: Prompt) -> RemoteCallRequest:
        """The call. Raises `Refused` when there are too many, or the prompt cannot be one."""
        if len(self._tasks) >= self.options.concurrency:
            raise Refused(BUSY, f"{self.options.concurrency} prompts are in work; try later")
        payload = self._payload(prompt)
        headers = Headers(tenant=self._transport.tenant)
        return RemoteCallRequest(
            message=Message(payload=payload, headers=headers),
            skill=self._skill,
            agent_url=f"nats://{self._agent}",
            metadata={"protocol": f"{SERVICE} {VERSION}", "fields": dict(prompt.fields)},
            timeout_s=self.options.limit,
            context_id=self._identity["session"],
        )

    def _payload(self, prompt: Prompt) -> Any:
        """What the skill is given. Raises `Refused`."""
        try:
            return self.options.payload(prompt)
        except ValueError as error:
            raise Refused(BAD_REQUEST, f"the prompt does not fit: {error}") from error
        except Exception as error:
            raise Refused(FAILED, "the prompt cannot be read by this agent") from error

    async def _answer(self, request: RemoteCallRequest, reply: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answering = Answering(
            self._connection,
            self._transport,
            request,
            reply,
            keepalive=self.options.keepalive,
            answer_wait=self.options.answer_wait,
            payload=self._payload,
            longest=self._longest,
        )
        try:
            await answering.run()
        finally:
            self._prompt.count(loop.time() - began, answering.error)

    # The protocol has no cancel; this one is found by whoever reads the registration.

    def _asked_to_cancel(self, message: Incoming) -> None:
        if not message.reply:
            return
        if not _TASK.fullmatch(message.data) or len(self._tasks) >= 2 * self.options.concurrency:
            refused = Refused(BAD_REQUEST, "the request must be the id of a task")
            self._publish(message.reply, b"", refused.headers())
            return
        self._spawn(self._cancel_task(message.data.decode(), message.reply))

    async def _cancel_task(self, task_id: str, reply: str) -> None:
        url = f"nats://{self._agent}"
        try:
            outcome = await self._transport.cancel_task(agent_url=url, task_id=task_id)
        except NatsError as error:
            self._cancel.count(0.0, str(error))
            self._publish(reply, b"", Refused(FAILED, "the server is away").headers())
            return
        self._cancel.count(0.0, "")
        self._publish(reply, msgspec.json.encode({"task": task_id, "outcome": outcome.value}))


@asynccontextmanager
async def answering(
    server: Server = "nats://127.0.0.1:4222",
    *,
    agent: str,
    skill: str,
    owner: str,
    session: str = "default",
    name: str | None = None,
    tenant: str = "default",
    drain: float = 30.0,
    options: FrontOptions | None = None,
) -> AsyncIterator[SynadiaFront]:
    """Answer clients of the Synadia agent protocol for an agent, until the block ends.

    Args:
        server: Where the server is, for the clients and for the agent.
        agent: The agent that is called.
        skill: What it is called for.
        owner: Whose agent it is, for the clients.
        session: Which conversation of it; comes to the agent as `context_id`.
        name: What the clients call the agent, if its own name does not do.
        tenant: Whose agent is called.
        drain: Seconds to finish what is in work at the end.
        options: How prompts are answered.

    Raises:
        BadToken: agent, owner or session do not fit into the protocol.
        NatsError: the server cannot be reached or refuses.
    """
    async with connected(server) as connection, PlainTransport(connection, tenant=tenant) as calls:
        refuse_imported(connection, "an agent's front")
        front = SynadiaFront(
            connection,
            calls,
            agent=agent,
            skill=skill,
            owner=owner,
            session=session,
            name=name,
            options=options,
        )
        await front.start()
        try:
            yield front
        finally:
            await front.stop(drain=drain)


__all__ = ["FrontOptions", "SynadiaFront", "answering"]
