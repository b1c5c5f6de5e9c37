"""The promises of a message bus."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from penguiflow.bus import BusEnvelope
from penguiflow.testing.contract import Contract, check_equal, fresh
from penguiflow.types import Headers, Message


def envelope(trace_id: str | None, payload: Any = "payload", edge: str = "a->b") -> BusEnvelope:
    """What a flow publishes for a plain value."""
    source, _, target = edge.partition("->")
    return BusEnvelope(edge, source, target, trace_id, payload, None, None)


def message_envelope(trace_id: str) -> BusEnvelope:
    """What a flow publishes for a message."""
    message = Message(
        payload={"n": [1]}, headers=Headers(tenant="tenant"), trace_id=trace_id, meta={"k": ["v"]}
    )
    return BusEnvelope(
        edge="a->b",
        source="a",
        target="b",
        trace_id=trace_id,
        payload=message,
        headers=message.headers.model_dump(),
        meta=dict(message.meta),
    )


class MessageBusContract(Contract):
    """What every `MessageBus` promises.

    Override `heard` where the bus can be observed; else only the calls themselves are checked.
    """

    async def heard(self, bus: Any, trace_id: str) -> Sequence[BusEnvelope] | None:
        """What arrived of a trace, in order; None when it cannot be known."""
        return None

    async def test_message_is_published(self) -> None:
        async with self.open_store() as bus:
            sent = message_envelope(fresh("trace"))
            result = await bus.publish(sent)
            check_equal(result, None, "publish gives nothing back")
            await self._check_heard(bus, sent.trace_id, [sent])

    async def test_plain_value_is_published(self) -> None:
        async with self.open_store() as bus:
            sent = envelope(fresh("trace"), {"plain": [1, None]})
            await bus.publish(sent)
            await self._check_heard(bus, sent.trace_id, [sent])

    async def test_untraced_value_is_accepted(self) -> None:
        async with self.open_store() as bus:
            await bus.publish(envelope(None))

    async def test_envelope_is_left_as_it_was(self) -> None:
        async with self.open_store() as bus:
            sent = message_envelope(fresh("trace"))
            before = copy.deepcopy(sent)
            await bus.publish(sent)
            check_equal(sent, before, "a bus only observes: the object travels on")

    async def test_envelopes_of_a_trace_keep_their_order(self) -> None:
        async with self.open_store() as bus:
            trace_id = fresh("trace")
            sent = [envelope(trace_id, n) for n in range(5)]
            for each in sent:
                await bus.publish(each)
            await self._check_heard(bus, trace_id, sent)

    async def test_equal_envelopes_are_not_collapsed(self) -> None:
        async with self.open_store() as bus:
            trace_id = fresh("trace")
            sent = [envelope(trace_id), envelope(trace_id)]
            for each in sent:
                await bus.publish(each)
            await self._check_heard(bus, trace_id, sent)

    async def test_several_tasks_may_publish_at_once(self) -> None:
        async with self.open_store() as bus:
            traces = [fresh("trace") for _ in range(10)]
            await asyncio.gather(*(bus.publish(envelope(trace_id)) for trace_id in traces))
            for trace_id in traces:
                await self._check_heard(bus, trace_id, [envelope(trace_id)])

    async def _check_heard(
        self, bus: Any, trace_id: str | None, sent: Sequence[BusEnvelope]
    ) -> None:
        heard = await self.heard(bus, trace_id or "")
        if heard is not None:
            check_equal(list(heard), list(sent), "everything published arrives once, in order")


__all__ = ["MessageBusContract"]
