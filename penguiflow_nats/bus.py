"""The message bus on JetStream: a flow's edges, told to the workers of any other runtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self
from uuid import uuid4

from penguiflow.bus import BusEnvelope, MessageBus
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.tokens import token
from penguiflow.durable.typemap import TypeMap
from penguiflow_nats import error_codes
from penguiflow_nats.bus_consumer import BusConsumer
from penguiflow_nats.bus_wire import (
    BusMessage,
    BusStorage,
    filter_of,
    pack_message,
    stream_config,
    stream_name,
    subject_of,
)
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError
from penguiflow_nats.imported import refuse_imported
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.kv import NO_ROOM
from penguiflow_nats.opening import opened
from penguiflow_nats.persist import persist
from penguiflow_nats.puller import Puller
from penguiflow_nats.runtime import Server
from penguiflow_nats.state_settings import ForeignTenant
from penguiflow_nats.stream_types import SECOND, ConsumerConfig
from penguiflow_nats.streams import ensure


class NatsMessageBus(MessageBus):
    """The bus of one tenant.

    In a local flow it observes: the flow hands each object to the next node itself, and the workers
    that consume here must not be the flow's own. Envelopes have no id, so each call of `publish` is
    one message, however often it is repeated on the way; who has an id passes it, and may then
    repeat the call itself.
    """

    def __init__(
        self,
        server: Server = "nats://127.0.0.1:4222",
        *,
        tenant: str | None = None,
        storage: BusStorage | None = None,
        types: TypeMap | None = None,
        patience: float = 10.0,
    ) -> None:
        """Prepare; it connects with the first call.

        Args:
            server: Where the server is, or a connection that stays the caller's.
            tenant: Whose bus; None for the one that tenants share.
            storage: How much the stream holds and how safely, if it has to be made.
            types: The types that payloads may be of; by default those that are loaded.
            patience: Seconds for which a call is repeated while the server is away or the stream
                is full.
        """
        self.tenant = tenant or "default"
        self._strict = tenant is not None
        self._server = server
        self._storage = storage or BusStorage()
        self._codec = ValueCodec(types)
        self._patience = patience
        self._opening = asyncio.Lock()
        self._stack: AsyncExitStack | None = None
        self._connection: Connection | None = None

    async def open(self) -> Self:
        """Connect and make the stream now.

        Raises:
            StreamDrift: The stream exists with settings under which the promises do not hold.
            NatsError: The server cannot be reached, or refuses.
        """
        await self._connected()
        return self

    async def _connected(self) -> Connection:
        if self._connection is None:
            async with self._opening:
                if self._connection is None:
                    async with AsyncExitStack() as stack:
                        connection = await stack.enter_async_context(
                            opened(self._server, patience=self._patience)
                        )
                        refuse_imported(connection, "a message bus")
                        config = stream_config(self.tenant, self._storage)
                        jetstream = JetStream(connection)
                        await persist(
                            connection, lambda: ensure(jetstream, config), limit=self._patience
                        )
                        self._stack = stack.pop_all()
                    self._connection = connection
        return self._connection

    async def close(self) -> None:
        """Close the connection, unless the caller owns it."""
        stack, self._stack, self._connection = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def __aenter__(self) -> Self:
        """Open."""
        return await self.open()

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        await self.close()

    async def publish(self, envelope: BusEnvelope, *, message_id: str | None = None) -> None:
        """Store an envelope; returns when the server has confirmed it.

        Args:
            envelope: It is only read.
            message_id: The identity of this publication. The same id on the same edge and trace
                is stored once, also after a restart; None makes a new one.

        Raises:
            ForeignTenant: The headers name another tenant than the one that the bus belongs to.
            NotEncodable: The payload cannot travel between processes.
            PayloadTooLarge: It is larger than the server takes: pass an artifact's reference.
            NatsError: It could not be confirmed.
        """
        named = (envelope.headers or {}).get("tenant")
        if self._strict and named not in (None, self.tenant):
            raise ForeignTenant(self.tenant, str(named))
        connection = await self._connected()
        identity = message_id or uuid4().hex
        message = BusMessage(envelope, identity, self.tenant, time.time())
        subject, data = subject_of(message), pack_message(message, self._codec)
        headers = {"Nats-Msg-Id": subject}
        jetstream = JetStream(connection)

        async def append() -> None:
            try:
                await jetstream.append(subject, data, headers)
            except ApiError as error:
                # One code, two meanings: there already, or no room. Only the first is success.
                if error_codes.SUBJECT_TAKEN_TEXT not in error.description:
                    raise

        await persist(connection, append, limit=self._patience, also=NO_ROOM)

    @asynccontextmanager
    async def consume(
        self,
        name: str,
        *,
        targets: Sequence[str] | None = None,
        window: int = 64,
        lease: float = 30.0,
        max_deliveries: int = -1,
    ) -> AsyncIterator[BusConsumer]:
        """Deliveries for one worker, until the block ends; those in hand are given back then.

            async with bus.consume("billing", targets=["bill"]) as deliveries:
                async for delivery in deliveries:
                    ...
                    await delivery.ack()

        Workers with the same name share the messages, and a name remembers what was settled. A
        name begins with all messages that the bus still has.

        Args:
            name: Name of the group of workers.
            targets: Only what goes to these nodes.
            window: Messages in hand at most.
            lease: Seconds after which an unsettled message goes to another worker.
            max_deliveries: How often a message is delivered at most; -1 is without end.

        Raises:
            NatsError: The server refuses, or is away for too long.
        """
        connection = await self._connected()
        filters = [filter_of(self.tenant, target=each) for each in targets or (None,)]
        config = ConsumerConfig(
            durable_name=token(name),
            filter_subjects=filters,
            ack_wait=round(lease * SECOND),
            max_ack_pending=max(1_000, window),
            max_deliver=max_deliveries,
        )
        jetstream, stream = JetStream(connection), stream_name(self.tenant)
        await persist(
            connection,
            lambda: jetstream.create_consumer(stream, config),
            limit=self._patience,
        )
        consumer = BusConsumer(self._codec, self.tenant)
        puller = Puller(
            connection,
            stream=stream,
            consumer=token(name),
            deliver=consumer.deliver,
            window=window,
            on_gone=consumer.gone,
        )
        consumer.start(puller)
        try:
            yield consumer
        finally:
            await consumer.stop()


__all__ = ["NatsMessageBus"]
