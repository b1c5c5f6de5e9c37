"""What needs no server: keys that cannot be forged, bytes that come back as what they were."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow.durable.wire_errors import MalformedValue, NotEncodable
from penguiflow.state.records import RemoteBinding, StoredEvent
from penguiflow_nats import artifact_keys
from penguiflow_nats import state_keys as keys
from penguiflow_nats.series import series_key
from penguiflow_nats.state_codec import (
    event_identity,
    is_plain,
    pack,
    pack_event,
    pack_model,
    pack_opaque,
    unpack,
    unpack_event,
    unpack_model,
    unpack_opaque,
)

HOSTILE = ["", "=", "*", ">", "a.b", "a b", "\r\n", "ü", "x" * 1_000, "_h_a", "\ud800"]
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_a_separator_a_wildcard_or_none(text: str) -> None:
    assert TOKEN.fullmatch(keys.part(text))
    assert keys.part(None) == "="
    binding = RemoteBinding(text, text, text, text, router_session_id=text, tenant_id=text)
    assert len(keys.binding_suffix(binding).split(".")) == 4
    assert keys.suffix_of_place(keys.binding_place(binding)) == keys.binding_suffix(binding)
    assert len(series_key("ev.t.n", keys.named(text)).split(".")) == 7


def test_different_names_have_different_keys() -> None:
    parts = [keys.part(text) for text in [*HOSTILE, "a_b", "a-b"]]
    assert len(set(parts)) == len(parts)
    assert keys.named("abc") != keys.unnamed("abc")


def test_candidates_of_two_owners_part_after_the_first() -> None:
    one = artifact_keys.candidates(None, ("t", None, None), "f" * 64)
    two = artifact_keys.candidates(None, ("u", None, None), "f" * 64)
    assert next(one) == next(two) == "art_ffffffffffff"
    assert next(one) != next(two)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, 2.5, "ü", None, True, {"b": []}]},
        (1, 2),
        {1: "int key"},
        float("inf"),
        2**60,
        2**70,
        b"\x00\xff",
        datetime(2026, 1, 2, tzinfo=UTC),
        Decimal("1.10"),
        {"lone": "\ud800"},
        [[[[[]]]]],
    ],
)
def test_value_comes_back_with_its_type(value: Any) -> None:
    again = unpack(pack(value))
    assert again == value
    assert type(again) is type(value)


def test_plain_values_are_json_for_other_tools() -> None:
    assert pack({"a": 1}) == b'{"a":1}'
    event = StoredEvent("t", 1.0, "k", None, None, {"a": 1}, "id")
    assert pack_event(event).startswith(b'{"trace_id":"t"')
    assert unpack_event(pack_event(event)) == event
    assert not is_plain({"a": (1,)})


def test_value_that_cannot_travel_is_refused() -> None:
    with pytest.raises(NotEncodable):
        pack({"a": object()})


@pytest.mark.parametrize("data", [b"", b"{", b"\xc1", b"\xc1\xc1", b"\xff", b"[1,", b"nonsense"])
def test_bytes_that_are_no_value_are_refused(data: bytes) -> None:
    for read in (unpack, unpack_event):
        with pytest.raises(MalformedValue):
            read(data)


class Note(BaseModel):
    text: str
    extra: Any = None


def test_model_is_json_unless_that_would_change_it() -> None:
    assert pack_model(Note(text="a", extra=[1])) == b'{"text":"a","extra":[1]}'
    for note in (Note(text="a", extra=[1]), Note(text="a", extra=(1, b"\xff"))):
        assert unpack_model(Note, pack_model(note)) == note
    with pytest.raises(MalformedValue):
        unpack_model(Note, b"{}")


class Own:
    def __init__(self, n: int) -> None:
        self.n = n

    def serialise(self) -> Any:
        return {"n": self.n}

    @classmethod
    def from_serialised(cls, data: Any) -> Own:
        return cls(data["n"])


def test_object_of_a_class_that_is_not_loaded_comes_as_what_it_serialised_to() -> None:
    data = pack_opaque(Own(3))
    found = unpack_opaque(data)
    assert isinstance(found, Own)
    assert found.n == 3
    elsewhere = data.replace(b":Own", b":Odd")
    assert unpack_opaque(elsewhere) == {"n": 3}


def test_event_without_an_id_is_known_by_what_it_says() -> None:
    def said(**changes: Any) -> str | None:
        fields: dict[str, Any] = {
            "trace_id": "t",
            "ts": 1.0,
            "kind": "k",
            "node_name": None,
            "node_id": None,
            "payload": {"a": 1, "b": 2},
        }
        return event_identity(StoredEvent(**{**fields, **changes}))

    assert said() == said(payload={"b": 2, "a": 1})
    others = [said(ts=2.0), said(kind="l"), said(node_name=""), said(seq=0), said(payload={"a": 1})]
    assert len({said(), *others}) == 6
    assert said(event_id="id") is None
