"""The envelope on the wire: fixed bytes, versions, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from penguiflow.durable import envelope as module
from penguiflow.durable import extension
from penguiflow.durable.envelope import (
    EGRESS,
    MESSAGE,
    OUTCOMES,
    VALUE,
    Envelope,
    EnvelopeTooNew,
    MalformedEnvelope,
    Output,
    Part,
    decode,
    encode,
)
from penguiflow.durable.wire_errors import NotEncodable
from penguiflow.errors import FlowError

pack = msgspec.msgpack.encode
PAGE = Path(__file__).parents[2] / "docs" / "envelope.md"

FULL = Envelope(
    tenant="acme",
    flow="census",
    trace="0af7651916cd43dd8448eb211c80319c",
    node="parse",
    input="in-1",
    outcome="failed",
    outputs=(
        Output(
            Raw(b"\x01"), ("count", EGRESS), MESSAGE, "t-1", "acme", "news", -2, 1.5, 2.5,
            Raw(b"\x81\xa1k\x02"),
        ),
        Output(Raw(b"\xa1x"), ("sum",), VALUE, "t-1"),
    ),
    expanded=True,
    weight="1/3",
    client="c1",
    error={"code": "NODE_EXCEPTION", "message": "no", "metadata": {"attempt": 2}},
    worker="w1",
    attempt=2,
    delivered=3,
    started=1700000000.25,
    duration=0.5,
    submitted=1700000000.0,
    budget=30.0,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate="a=b",
)  # fmt: skip
FULL_BYTES = bytes.fromhex(
    "dc0016"  # an array of 22
    "01"  # v
    "a461636d65"  # tenant
    "a663656e737573"  # flow
    "d9203061663736353139313663643433646438343438656232313163383033313963"  # trace
    "a57061727365"  # node
    "a4696e2d31"  # input
    "a66661696c6564"  # outcome
    "92"  # outputs
    "9b"  # the first
    "01"  # payload, as it is
    "92a5636f756e74a740656772657373"  # targets
    "01"  # kind
    "a3742d31"  # trace_id
    "a461636d65a46e657773fe"  # tenant, topic, priority
    "cb3ff8000000000000cb4004000000000000"  # ts, deadline_s
    "81a16b02"  # meta, as it is
    "c0"  # due
    "9b"  # the second
    "a17891a373756d00a3742d31a0c000cb0000000000000000c0c0c0"
    "c3"  # expanded
    "a3312f33"  # weight
    "a26331"  # client
    "83a4636f6465ae4e4f44455f455843455054494f4ea76d657373616765a26e6f"  # error
    "a86d6574616461746181a7617474656d707402"
    "a27731"  # worker
    "0203"  # attempt, delivered
    "cb41d954fc40100000"  # started
    "cb3fe0000000000000"  # duration
    "cb41d954fc40000000"  # submitted
    "cb403e000000000000"  # budget
    "d93730302d30616637363531393136636434336464383434386562323131633830333139632d"  # traceparent
    "623761643662373136393230333333312d3031"
    "a3613d62"  # tracestate
    "90"  # parts
)

MINIMAL = Envelope(tenant="t", flow="f", trace="x")
MINIMAL_BYTES = bytes.fromhex(
    "dc001601a174a166a178a0a0a26f6b90c2a131a0c0a00000"
    "cb0000000000000000cb0000000000000000cb0000000000000000c0c0c090"
)


def fields(envelope: Envelope = MINIMAL) -> list[Any]:
    """The envelope as the list that it is on the wire."""
    return list(msgspec.msgpack.decode(encode(envelope)))


@pytest.mark.parametrize(
    ("envelope", "data"), [(FULL, FULL_BYTES), (MINIMAL, MINIMAL_BYTES)], ids=["full", "minimal"]
)
def test_golden_bytes(envelope: Envelope, data: bytes) -> None:
    assert encode(envelope).hex() == data.hex()
    assert decode(data) == envelope


def test_a_reader_fills_in_what_an_older_writer_did_not_write() -> None:
    assert decode(pack([1, "t", "f", "x"])) == MINIMAL
    assert decode(pack([1, "t", "f", "x", "", "", "ok", [[None, ["a"]]]])).outputs == (
        Output(Raw(b"\xc0"), ("a",)),
    )


def test_a_reader_skips_what_a_newer_writer_of_the_same_version_appends() -> None:
    appended = [*fields(FULL), "new", {"and": ["newer"]}, msgspec.msgpack.Ext(99, b"?")]
    appended[7] = [[*output, "new"] for output in appended[7]]
    assert decode(pack(appended)) == FULL


@pytest.mark.parametrize(
    "data",
    [
        pack([3]),
        pack([3, *fields()[1:]]),
        pack([3, {"all": "different"}, 3.5]),
        pack([2**64 - 1, "t"]),
    ],
)
def test_a_later_version_is_told_from_rubbish(data: bytes) -> None:
    with pytest.raises(EnvelopeTooNew, match="this worker reads up to 2") as caught:
        decode(data)
    assert caught.value.version == msgspec.msgpack.decode(data)[0]
    assert caught.value.supported == 2


def changed(**values: Any) -> bytes:
    """A minimal envelope with other values, valid or not."""
    names = Envelope.__struct_fields__
    found = fields()
    for name, value in values.items():
        found[names.index(name)] = value
    return pack(found)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"\xc1", "invalid opcode"),
        (b"\xc0", "Expected `array`"),
        (b"{}", "Expected `array`"),
        (pack({"v": 1}), "Expected `array`, got `object`"),
        (pack([]), "at least"),
        (pack([1, "t", "f"]), "at least"),
        (pack([0, "t", "f", "x"]), "version 0 does not exist"),
        (pack([-1, "t", "f", "x"]), "version -1 does not exist"),
        (pack([True, "t", "f", "x"]), "Expected `int`"),
        (pack(["1", "t", "f", "x"]), "Expected `int`"),
        (pack([2.5, "t", "f", "x"]), "Expected `int`"),
        (MINIMAL_BYTES + b"\x00", "trailing"),
        (MINIMAL_BYTES + MINIMAL_BYTES, "trailing"),
        (MINIMAL_BYTES[:-1], "truncated"),
        (FULL_BYTES[:100], "truncated"),
        (b"\xdd\xff\xff\xff\xff\x01", "Expected `str`|truncated"),
        (b"\x94\x01\xdb\xff\xff\xff\xff", "truncated"),
        (b"\x94\x01\xa1\xff\xa1f\xa1x", "utf-8"),
        (b"\x94\x01" + b"\x91" * 100_000, "Expected `str`"),
        (MINIMAL_BYTES.replace(b"\x16", b"\x17") + b"\x91" * 100_000 + b"\x01", "deeply"),
        (MINIMAL_BYTES.replace(b"\x16", b"\x17") + b"\x81\x01" * 100_000 + b"\x01", "deeply"),
        (changed(tenant=None), "Expected `str`"),
        (changed(trace=b"x"), "Expected `str`"),
        (changed(outcome="done"), "unknown outcome 'done'"),
        (changed(outputs=[["p"]]), "at least"),
        (changed(outputs=[["p", "target"]]), "Expected `array`"),
        (changed(outputs=[["p", ["a"], 2]]), "unknown kind 2"),
        (changed(outputs=[["p", ["a"], 1, "t", "t", None, "high"]]), "Expected `int`"),
        (changed(outputs={}), "Expected `array`"),
        (changed(expanded=1), "Expected `bool`"),
        (changed(weight=1), "Expected `str`"),
        (changed(weight="nan"), "not a share"),
        (changed(weight="0"), "weight of 0"),
        (changed(weight="2/4"), "not a share"),
        (changed(weight="-1/2"), "not a share"),
        (changed(weight="1/" + "1" * 5000), "weight is longer"),
        (changed(error=["no"]), "Expected `object | null`"),
        (changed(error={1: "no"}), "Expected `str`"),
        (changed(attempt=-1), "negative"),
        (changed(delivered=-1), "negative"),
        (changed(started=float("nan")), "a time is no number"),
        (changed(duration=float("inf")), "a time is no number"),
        (changed(submitted=float("-inf")), "a time is no number"),
        (changed(budget=float("nan")), "budget is no number"),
        (changed(budget="soon"), "Expected `float | null`"),
        (changed(parts=[["name", 1, 0, 0, 1, False]]), "a part without outputs"),
        (changed(trace="x" * 5000), "trace is longer than 4096"),
        (changed(tracestate="x" * 5000), "tracestate is longer than 4096"),
    ],
)  # fmt: skip
def test_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedEnvelope, match=reason) as caught:
        decode(data)
    assert caught.value.reason in str(caught.value)


def nested(levels: int) -> dict[str, Any]:
    error: dict[str, Any] = {}
    for _ in range(levels):
        error = {"in": error}
    return error


@pytest.mark.parametrize("levels", [33, 200])
def test_an_error_with_deep_details_is_refused(levels: int) -> None:
    with pytest.raises(MalformedEnvelope, match="error is nested too deeply"):
        decode(changed(error=nested(levels)))


def test_too_many_bytes_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", len(FULL_BYTES) - 1)
    with pytest.raises(MalformedEnvelope, match="exceed the limit"):
        decode(FULL_BYTES)


def test_an_infinite_budget_is_a_deadline_of_never() -> None:
    assert decode(changed(budget=float("inf"))).budget == float("inf")
    assert decode(changed(budget=-1.0)).budget == -1.0


def test_any_outcome_is_read() -> None:
    for outcome in OUTCOMES:
        assert decode(encode(replace(MINIMAL, outcome=outcome))).outcome == outcome


# ---- what is not written


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"trace": "\ud800"}, "surrogates"),
        ({"tenant": "x" * 5000}, "tenant is longer"),
        ({"weight": "0.5"}, "not a share"),
        ({"weight": "0"}, "weight of 0"),
        ({"outcome": "done"}, "unknown outcome"),
        ({"started": float("nan")}, "a time is no number"),
        ({"attempt": -1}, "negative"),
        ({"attempt": 2**70}, "serialize ints"),
        ({"node": object()}, "Encoding objects of type object"),
        ({"outputs": (Output(Raw(b"\x01"), ("a",), 7),)}, "unknown kind 7"),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotEncodable, match=reason):
        encode(replace(MINIMAL, **change))


def test_a_whole_that_is_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    large = replace(MINIMAL, outputs=(Output(Raw(pack("x" * 5000)), ("a",)),))
    with pytest.raises(NotEncodable, match="exceed the limit of 5000"):
        encode(large)


# ---- errors arrive, whatever they carry


class _Opaque:
    def __repr__(self) -> str:
        return "<opaque \ud800>"


class _Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError


def test_what_cannot_travel_in_an_error_is_described() -> None:
    holds_itself: list[Any] = []
    holds_itself.append(holds_itself)
    error = FlowError(
        trace_id="t",
        node_name="n",
        code="C",
        message="bad \udcff byte",
        metadata={
            "object": _Opaque(),
            "unspeakable": _Unspeakable(),
            "big": 2**80,
            "tuple": (1, {2}),
            "bytes": b"\xff",
            ("key",): 1,
            "cycle": holds_itself,
        },
    )
    sent = replace(MINIMAL, outcome="failed", error=error.to_payload())
    found = decode(encode(sent)).error
    assert found is not None
    assert found["message"] == "bad \\udcff byte"
    details = found["metadata"]
    assert details["object"] == "<opaque \\ud800>"
    assert details["unspeakable"] == "<_Unspeakable>"
    assert details["big"] == str(2**80)
    assert details["tuple"] == [1, [2]]
    assert details["bytes"] == "b'\\xff'"
    assert details["('key',)"] == 1
    assert decode(encode(decode(encode(sent)))).error == found


# ---- the page about it


def tables() -> list[list[list[str]]]:
    """The tables of the page, as rows of cells, without their heads."""
    found: list[list[list[str]]] = [[]]
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [table[2:] for table in found if table]


def test_the_page_lists_every_field_at_its_place() -> None:
    envelope_rows, outcomes, output_rows, part_rows, extensions, _ = tables()
    for struct, rows in ((Envelope, envelope_rows), (Output, output_rows), (Part, part_rows)):
        assert [row[1] for row in rows] == list(struct.__struct_fields__)
        assert [row[0] for row in rows] == [str(n) for n in range(len(rows))]
    assert {row[0] for row in outcomes} == OUTCOMES
    codes = {value for value in vars(extension).values() if isinstance(value, int)}
    assert [int(row[0]) for row in extensions] == sorted(codes)
