"""What is written is read; any other bytes are an envelope or refused, and nothing else happens."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from penguiflow.durable.envelope import (
    MESSAGE,
    OUTCOMES,
    VALUE,
    Envelope,
    EnvelopeTooNew,
    MalformedEnvelope,
    Output,
    decode,
    encode,
)

pack = msgspec.msgpack.encode
patient = settings(deadline=None)  # a busy machine is no failure
texts = st.text(max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
outputs = st.builds(
    Output,
    payload=values.map(pack).map(Raw),
    targets=st.lists(texts, max_size=3).map(tuple),
    kind=st.sampled_from([VALUE, MESSAGE]),
    trace_id=texts,
    tenant=texts,
    topic=st.none() | texts,
    priority=st.integers(-(2**63), 2**63 - 1),
    ts=st.floats(allow_nan=False),
    deadline_s=st.none() | st.floats(allow_nan=False),
    meta=st.dictionaries(texts, values, max_size=2).map(pack).map(Raw),
)
finite = st.floats(min_value=-1e15, max_value=1e15)
envelopes = st.builds(
    Envelope,
    tenant=texts,
    flow=texts,
    trace=texts,
    node=texts,
    input=texts,
    outcome=st.sampled_from(sorted(OUTCOMES)),
    outputs=st.lists(outputs, max_size=3).map(tuple),
    expanded=st.booleans(),
    weight=st.sampled_from(["1", "1/2", "5/3"]),
    client=texts,
    error=st.none() | st.just({"code": "C", "n": [1, 2.5, None, True]}),
    worker=texts,
    attempt=st.integers(0, 2**31),
    delivered=st.integers(0, 2**31),
    started=finite,
    duration=finite,
    submitted=finite,
    budget=st.none() | st.floats(allow_nan=False),
    traceparent=st.none() | texts,
    tracestate=st.none() | texts,
)


@patient
@given(envelopes)
def test_what_is_written_is_read(envelope: Envelope) -> None:
    data = encode(envelope)
    assert decode(data) == envelope
    assert encode(decode(data)) == data


def readable_or_refused(data: bytes) -> None:
    modules = set(sys.modules)
    try:
        envelope = decode(data)
    except (MalformedEnvelope, EnvelopeTooNew):
        pass
    else:  # compared as bytes: a NaN in an output equals nothing
        data = encode(envelope)
        assert encode(decode(data)) == data
    assert set(sys.modules) == modules


@patient
@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_refused(data: bytes) -> None:
    readable_or_refused(data)


@patient
@given(envelopes, st.data())
def test_any_damage_is_an_envelope_or_refused(envelope: Envelope, data: st.DataObject) -> None:
    damaged = bytearray(encode(envelope))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                damaged[place] = data.draw(st.integers(0, 255))
            case "cut":
                del damaged[place + 1 :]
            case _:
                damaged[place:place] = data.draw(st.binary(max_size=4))
    readable_or_refused(bytes(damaged))


@patient
@given(st.lists(values, max_size=24).map(lambda found: pack([1, *found])))
def test_any_fields_are_an_envelope_or_refused(data: bytes) -> None:
    readable_or_refused(data)


@patient
@given(envelopes, st.integers(0, 20), values)
def test_any_value_in_any_field_is_an_envelope_or_refused(
    envelope: Envelope, place: int, value: Any
) -> None:
    found = list(msgspec.msgpack.decode(encode(envelope)))
    found[place] = value
    readable_or_refused(pack(found))
