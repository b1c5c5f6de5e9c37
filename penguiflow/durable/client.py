"""The client of a durable flow: submits, fetches, streams, cancels; from any process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.context import Targets, names_of
from penguiflow.durable import hints
from penguiflow.durable.arrivals import arrived_in
from penguiflow.durable.cancel import cancel_trace
from penguiflow.durable.check import check_durable
from penguiflow.durable.chunks import ChunkFollower
from penguiflow.durable.claims import Claims, claimed_size
from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.deadlines import Deadlines
from penguiflow.durable.envelope import EGRESS, MAX_VALUE_BYTES, VERSION, Envelope, Output, encode
from penguiflow.durable.inputs import input_for
from penguiflow.durable.ledger import Books, Entry, TraceStatus
from penguiflow.durable.log import (
    AlreadyCommitted,
    Key,
    Kind,
    Log,
    Stored,
    Subscription,
)
from penguiflow.durable.patience import Patience
from penguiflow.durable.timers import due_in
from penguiflow.durable.tokens import token, trace_token
from penguiflow.durable.topology import Topology, end_key, everything, standing
from penguiflow.durable.waiting import Waiting
from penguiflow.errors import FlowError, TraceCancelled
from penguiflow.floe import trace_of
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.telemetry.instrument import Announce, Append, FlowPlace, Instrument
from penguiflow.types import Message, StreamChunk, new_trace_id

_POLL = 2.0
"""Seconds after which a client that heard no hint looks into the log; doubles each time."""
_LONGEST_POLL = 30.0

_REMEMBERED = 100_000
"""Traces of which a client remembers what it has read."""


class TenantMismatch(ValueError):
    """The message names another tenant than the client's connection."""


class DurableClient:
    """Talks to the workers of a flow through its log. It hosts nothing.

    Args:
        flow: The same flow that the workers run.
        log: The log of the flow's tenant.
        registry: The models of nodes that validate, to know the types of results.
        max_value_bytes: Bytes that one packed value may have.
        patience: Seconds for which a submission waits while the log has no room.
        telemetry: Observes what is submitted and cancelled here.
    """

    def __init__(
        self,
        flow: PenguiFlow,
        log: Log,
        *,
        registry: ModelRegistry | None = None,
        max_value_bytes: int = MAX_VALUE_BYTES,
        patience: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
        telemetry: Instrument | None = None,
    ) -> None:
        check_durable(flow.graph)
        self.id: str = secrets.token_hex(8)
        self.log = log
        self.topology: Topology = Topology(flow.graph)
        self.codec: ValueCodec = ValueCodec(
            TypeMap.of_flow(flow.graph, registry), max_bytes=max_value_bytes
        )
        self._claims = Claims(log, clock=clock)
        self._clock = clock
        self._patience = Patience(patience, clock)
        place = FlowPlace(
            flow=log.flow,
            instance=self.id,
            tenant=log.tenant,
            system=log.system,
            now=log.server_time,
            server=log.server,
        )
        self._probe = None if telemetry is None else telemetry.flow(place)
        self._deadlines = Deadlines(log, clock)
        self._waiting = Waiting()
        self._read_upto: OrderedDict[str, int] = OrderedDict()
        self._submitted: OrderedDict[str, None] = OrderedDict()
        self._subscriptions: list[Subscription] = []
        self._foreign: set[str] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen for the hints of this client's own submissions."""
        topic = hints.topic(self.id, "*")
        self._subscriptions.append(await self.log.listen(topic, self._heard))

    async def stop(self) -> None:
        """End the subscriptions; waiting fetches are not ended. Idempotent."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        self._subscriptions.clear()

    def _heard(self, topic: str, data: bytes) -> None:
        trace = topic.rpartition(".")[2]
        hint = hints.read(trace, data)
        if hint is not None:
            self._waiting.hear(trace, hint)

    # In

    async def emit(
        self,
        msg: Any,
        to: Targets = None,
        *,
        trace_id: str | None = None,
        idempotency_key: str | None = None,
        delay_s: float | None = None,
    ) -> str:
        """Submit a message; returns its trace id once the log has it.

        Args:
            msg: A `Message`, or any value that can be encoded.
            to: Ingress nodes, all by default.
            trace_id: Overrides the message's own trace id.
            idempotency_key: The same key in the same trace is the same submission.
            delay_s: It is delivered so many seconds from now, whatever is restarted meanwhile.

        Raises:
            TenantMismatch: the message's headers name another tenant.
            KeyError: a target is no ingress node.
            TraceEnded: the trace was cancelled or removed; its id is not usable again.
            ValueError: the delay is no time from now on, or longer than the log keeps anything.
            LogFull, NotEncodable (`ValueTooLarge`), LogUnavailable: nothing was submitted.
        """
        if isinstance(msg, Message) and trace_id is not None and msg.trace_id != trace_id:
            msg = msg.model_copy(update={"trace_id": trace_id})
        trace_id = trace_id or trace_of(msg) or new_trace_id()
        self._check_tenant(msg)
        key = Key(
            Kind.INGRESS if delay_s is None else Kind.TIMER,
            trace_token(trace_id),
            input=token(idempotency_key) if idempotency_key else secrets.token_hex(16),
        )
        msg = await self._deadlines.submitted(msg)
        output = self.codec.pack_output(msg, self._ingress(to), trace_id)
        if delay_s is not None:
            due = await due_in(self.log, delay_s)
            output = msgspec.structs.replace(output, due=due)
        envelope = Envelope(
            v=VERSION,
            tenant=self.log.tenant,
            flow=self.log.flow,
            trace=trace_id,
            input=key.input,
            outputs=(output,),
            client=self.id,
            submitted=self._clock.now(),
        )
        # Committed already: our own earlier try, or the same idempotency key.
        append: Append = self._append
        if self._probe is not None:
            append, envelope = self._probe.emitting(envelope, append)
        data = encode(envelope)
        if len(data) > self.log.inline_bytes:
            _, data = await self._patience.write(partial(self._claims.fit, key.trace, envelope))
        with contextlib.suppress(AlreadyCommitted):
            await append(key, data, absent=end_key(key.trace))
        _remember(self._submitted, key.trace, None)
        return trace_id

    async def _append(self, key: Key, data: bytes, **conditions: Any) -> int:
        return await self._patience.write(partial(self.log.append, key, data, **conditions))

    def _check_tenant(self, msg: Any) -> None:
        if isinstance(msg, Message) and msg.headers.tenant != self.log.tenant:
            text = (
                f"the message is of tenant {msg.headers.tenant!r}, the connection of "
                f"{self.log.tenant!r}; open a client for that tenant"
            )
            raise TenantMismatch(text)

    def _ingress(self, to: Targets) -> tuple[str, ...]:
        if to is None:
            return self.topology.ingress
        names = [t if isinstance(t, str) else str(t.name) for t in names_of(to)]
        for name in names:
            if name not in self.topology.ingress:
                msg = f"Unknown target {name} for OpenSea"
                raise KeyError(msg)
        return tuple(names)

    # Out

    async def fetch(self, *, trace_id: str, timeout: float | None = None) -> Any:
        """The trace's next result, in the order of the log, from any process at any time.

        Raises:
            TraceCancelled: the trace was cancelled.
            FlowError: the trace failed and has no further result.
            LookupError: the trace is complete and has no further result, or is not known.
            TimeoutError: nothing came within `timeout` seconds; nothing is lost.
            ObjectMissing: the result was large, and the object that held it is gone.
        """
        entry = await self._next(trace_id, timeout)
        output = self._output(entry)
        if claimed_size(output):
            output = await self._claims.output(output)
        return self._deadlines.fetched(self.codec.unpack_output(output))

    async def round_trip(self, msg: Any, *, timeout: float | None = None) -> Any:
        """Submit a message and fetch its first result."""
        trace_id = await self.emit(msg)
        return await self.fetch(trace_id=trace_id, timeout=timeout)

    def _output(self, entry: Entry) -> Output:
        assert entry.envelope is not None  # noqa: S101 - a result was read
        found = input_for(entry.stored, entry.envelope, EGRESS)
        assert found is not None  # noqa: S101 - a result is for the egress
        return found.output

    async def _next(self, trace_id: str, timeout: float | None) -> Entry:
        trace = trace_token(trace_id)
        async with asyncio.timeout(timeout):
            await self._hear_foreign(trace)
            with self._waiting.on(trace) as heard:
                hint, poll = heard.take(), _POLL
                if hint is None and trace in self._submitted and trace not in self._read_upto:
                    hint = await heard.wait(poll)
                while True:
                    entry = self._from_hint(trace, hint) or await self._look(trace_id, trace)
                    if entry is not None:
                        _remember(self._read_upto, trace, entry.stored.sequence)
                        return entry
                    hint = await heard.wait(poll)
                    poll = min(_LONGEST_POLL, 2 * poll)

    def _from_hint(self, trace: str, hint: Stored | None) -> Entry | None:
        """The result in a hint, when it is certain to be the next one: it is the whole trace's."""
        if hint is None or not hint.data or self._read_upto.get(trace, 0):
            return None
        books = Books.of(trace, [hint])
        entry = books.entries[0]
        whole = entry.envelope is not None and entry.envelope.weight == "1"
        return entry if whole and books.results else None

    async def _look(self, trace_id: str, trace: str) -> Entry | None:
        """The next result in the log; None while it may still come."""
        upto = self._read_upto.get(trace, 0)
        entries = await self.log.read(self.topology.results(trace))
        for entry in Books.of(trace, entries).results:
            if entry.stored.sequence > upto:
                if await self.log.get(end_key(trace)) is not None:
                    break
                return entry
        books = await self._standing(trace)
        status = books.status
        if status is TraceStatus.CANCELLED:
            raise TraceCancelled(trace_id)
        later = [e for e in books.results if e.stored.sequence > upto]
        if later:
            return later[0]
        if status is TraceStatus.FAILED:
            raise _failure(books.failures[0])
        if status is TraceStatus.COMPLETED:
            msg = f"trace {trace_id} is complete and has no further result"
            raise LookupError(msg)
        _raise_if_timed_out(books)
        if books.cancel_wanted:
            await self.cancel(trace_id)  # whoever wanted it did not see it through
            return None
        if status is TraceStatus.UNKNOWN:
            msg = f"trace {trace_id} is not known here; it was never submitted, or was removed"
            raise LookupError(msg)
        return None

    async def books(self, trace_id: str) -> Books:
        """All that the log holds of a trace."""
        trace = trace_token(trace_id)
        return Books.of(trace, await self.log.read(everything(trace)))

    async def status(self, trace_id: str) -> TraceStatus:
        """How far the trace is."""
        return (await self._standing(trace_token(trace_id))).status

    async def _standing(self, trace: str) -> Books:
        return Books.of(trace, await self.log.read(standing(trace)))

    async def _hear_foreign(self, trace: str) -> None:
        """Hear hints of a trace that another client submitted, or this one before a restart."""
        if trace in self._submitted or trace in self._foreign:
            return
        self._foreign.add(trace)
        topic = hints.topic("*", trace)
        self._subscriptions.append(await self.log.listen(topic, self._heard))

    async def stream(
        self, msg: Any, *, timeout: float | None = None
    ) -> AsyncIterator[StreamChunk | Any]:
        """Submit a message; yields its chunks live, then its result.

        Raises:
            ChunkGap: a chunk is missing. Else as `emit` and `fetch`.
        """
        trace_id = msg.trace_id if isinstance(msg, Message) else new_trace_id()
        async with ChunkFollower(self.log, self.codec, trace_token(trace_id)) as follower:
            await self.emit(msg, trace_id=trace_id)
            result = asyncio.ensure_future(self.fetch(trace_id=trace_id, timeout=timeout))
            try:
                async for chunk in follower.until(result):
                    yield chunk
                yield await result
            finally:
                result.cancel()
                await asyncio.gather(result, return_exceptions=True)

    # Cancel

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a trace everywhere; returns once no worker can commit anything of it any more.

        Returns:
            False when the trace is not known or has ended otherwise.

        Raises:
            LogError: the log does not answer; a repeated call goes on.
        """

        def cancel(announce: Announce | None = None) -> Coroutine[Any, Any, bool]:
            now = self._clock.now()
            return cancel_trace(self.log, trace_id, client=self.id, now=now, announce=announce)

        return await (cancel() if self._probe is None else self._probe.cancelling(trace_id, cancel))


def _remember(kept: OrderedDict[str, Any], trace: str, value: Any) -> None:
    kept[trace] = value
    kept.move_to_end(trace)
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)


def _raise_if_timed_out(books: Books) -> None:
    """A join's time is over: that is said in time, though a branch that is late may still end."""
    for entry in books.failures:
        if entry.envelope is not None and arrived_in(entry.envelope) is not None:
            raise _failure(entry)


def _failure(entry: Entry) -> FlowError:
    envelope = entry.envelope
    assert envelope is not None  # noqa: S101 - a failure was read
    error = envelope.error or {}
    return FlowError(
        trace_id=envelope.trace,
        node_name=envelope.node,
        code=str(error.get("code", "NODE_EXCEPTION")),
        message=str(error.get("message", "the node failed")),
        metadata=error.get("metadata"),
    )


__all__ = ["DurableClient", "TenantMismatch"]
