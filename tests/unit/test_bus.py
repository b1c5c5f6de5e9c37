from __future__ import annotations

import dataclasses

import pytest

from penguiflow.bus import BusEnvelope, MessageBus


def an_envelope() -> BusEnvelope:
    return BusEnvelope("a->b", "a", "b", "trace", "payload", None, None)


def test_envelope_has_the_documented_fields_in_order() -> None:
    names = [field.name for field in dataclasses.fields(BusEnvelope)]
    assert names == ["edge", "source", "target", "trace_id", "payload", "headers", "meta"]


def test_envelope_takes_every_field_and_has_no_defaults() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'meta'"):
        BusEnvelope("a->b", "a", "b", "trace", "payload", None)  # type: ignore[call-arg]


def test_envelope_is_slotted() -> None:
    with pytest.raises(AttributeError):
        an_envelope().extra = 1  # type: ignore[attr-defined]
    assert not hasattr(an_envelope(), "__dict__")


def test_envelope_can_be_changed_and_compared() -> None:
    changed = an_envelope()
    changed.meta = {"a": 1}
    assert changed == dataclasses.replace(an_envelope(), meta={"a": 1})
    assert changed != an_envelope()


async def test_bus_can_be_subclassed_without_calling_super() -> None:
    class Bus(MessageBus):
        def __init__(self) -> None:
            self.seen: list[BusEnvelope] = []

        async def publish(self, envelope: BusEnvelope) -> None:
            self.seen.append(envelope)

    bus = Bus()
    await bus.publish(an_envelope())
    assert bus.seen == [an_envelope()]


def test_bus_is_known_by_its_method() -> None:
    class Duck:
        async def publish(self, envelope: BusEnvelope) -> None: ...

    assert isinstance(Duck(), MessageBus)
    assert not isinstance(object(), MessageBus)
