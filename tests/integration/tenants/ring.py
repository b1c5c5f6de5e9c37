"""What an attacker has in hand, and what it is after."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_types import ConsumerConfig, StreamConfig
from penguiflow_nats.streams import Storage, chunk_config, dlq_config, log_config
from penguiflow_nats.subjects import Names
from tests.integration.tenants.site import Site

SMALL = Storage(log_bytes=20_000_000, dlq_bytes=5_000_000, chunk_bytes=5_000_000)
TRACE = "0123456789abcdef0123456789abcdef"
SECRET = b"the victim's own"
FORGED = b"forged"
QUIET = 0.15
"""Seconds after which nothing more is expected. Longer only makes the suite slower: whatever an
attack does has happened before the server answers the attacker's next ping."""


PATIENCE = 5.0
"""Seconds to wait for an attack that may succeed: mirrors need a moment to begin."""


class Ring:
    """Two tenants that know everything about each other but the password."""

    def __init__(self, site: Site, evil: Connection, victim: Connection) -> None:
        self.site = site
        self.evil, self.victim = evil, victim
        self.evil_js, self.victim_js = JetStream(evil), JetStream(victim)
        self.own, self.names = Names("acme", "f-1"), Names("globex", "f-1")
        self.pending = f"{self.names.log_root}.in.{TRACE}._.s"
        self.record = f"{self.names.log_root}.rec.{TRACE}.first.s"
        self.consumer = self.names.consumer("first")
        self.delivery: Incoming | None = None

    async def prepare(self) -> None:
        """Both tenants have their streams, and the victim has work in hand."""
        for js, names in ((self.evil_js, self.own), (self.victim_js, self.names)):
            for make in (log_config, dlq_config, chunk_config):
                await js.create_stream(make(names, SMALL))
        bucket = StreamConfig(
            name="KV_globex", subjects=["$KV.globex.>"], max_bytes=1_000_000, allow_direct=True
        )
        await self.victim_js.create_stream(bucket)
        await self.victim_js.append("$KV.globex.state", SECRET)
        await self.victim_js.append(self.pending, SECRET)
        config = ConsumerConfig(
            durable_name=self.consumer,
            filter_subject=f"{self.names.log_root}.in.*.*.*",
            ack_wait=60_000_000_000,
        )
        await self.victim_js.create_consumer(self.names.log_stream, config)
        self.delivery = (await self.take(self.victim, self.names.log_stream, self.consumer))[0]

    async def take(self, who: Connection, stream: str, consumer: str) -> list[Incoming]:
        """Pull what is there."""
        inbox, got = who.new_inbox(), list[Incoming]()
        subscription = who.subscribe(inbox, got.append)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        try:
            who.publish(subject, b'{"batch":5,"no_wait":true}', reply=inbox)
            await self.settled()
        finally:
            subscription.unsubscribe()
        return [message for message in got if message.reply]

    async def ask(self, subject: str, body: Any = None) -> Any:
        """Ask as the attacker; None when it is refused in any way."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        try:
            reply = await self.evil.request(subject, data, timeout=0.5)
        except NatsError:
            return None
        if not reply.data:
            return None
        if reply.headers and "Nats-Subject" in reply.headers:
            return {"direct": reply.data}
        try:
            answer = json.loads(reply.data)
        except ValueError:
            return {"direct": reply.data}
        return None if "error" in answer else answer

    def shout(
        self,
        subject: str,
        data: bytes = FORGED,
        headers: dict[str, str] | None = None,
        reply: str = "",
    ) -> None:
        """Publish as the attacker."""
        self.evil.publish(subject, data, headers, reply)

    async def settled(self) -> None:
        """Wait until the servers has done all that was asked."""
        await self.evil.flush()
        await asyncio.sleep(QUIET)
        await self.victim.flush()

    async def happens(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Whether it comes true. Where attacks do succeed, a slow machine is waited for."""
        end = asyncio.get_running_loop().time() + (PATIENCE if self.site.shared else 0.0)
        await self.settled()
        while not await condition():
            if asyncio.get_running_loop().time() >= end:
                return False
            await asyncio.sleep(0.05)
        return True

    async def hears(self, heard: list[Incoming]) -> bool:
        """Whether something is heard."""

        async def any_heard() -> bool:
            return bool(heard)

        return await self.happens(any_heard)

    async def listening(self, who: Connection, subject: str) -> list[Incoming]:
        """Hear a subject from now on."""
        heard: list[Incoming] = []
        who.subscribe(subject, heard.append)
        await who.flush()
        return heard

    async def count(self, stream: str | None = None) -> int:
        """Messages in a stream of the victim."""
        info = await self.victim_js.stream_info(stream or self.names.log_stream)
        return info.state.messages

    async def has(self, subject: str) -> bool:
        """Whether the victim's log holds a subject."""
        return await self.victim_js.get_last(self.names.log_stream, subject) is not None
