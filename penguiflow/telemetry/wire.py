"""Light spans as the bytes of an OTLP request. Pure.

The SDK's encoder takes several times as long as the span itself. Most of what our spans say is the
same in each of them, so it is encoded once and kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind

from penguiflow.telemetry import conventions as c

_KINDS: Final = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_HAS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_SINGLE: Final = frozenset((c.TRACE_ID, c.MESSAGE_ID, c.SEQUENCE, c.TASK, c.INPUT, c.OUTPUT))
"""Attributes that differ from span to span: not worth keeping."""
_MOST_KEPT: Final = 4096
_LONGEST_KEPT: Final = 200

_ids = struct.Struct(">QQ")
_fixed64 = struct.Struct("<Q").pack
_double = struct.Struct("<d").pack
_times = struct.Struct("<BQBQ").pack
_flags = struct.Struct("<BBI").pack


def varint(number: int) -> bytes:
    """A number that is not negative, as protobuf writes it."""
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _field(tag: int, data: bytes) -> bytes:
    """A field with a length."""
    return varint(tag << 3 | 2) + varint(len(data)) + data


def _text(tag: int, text: str) -> bytes:
    return _field(tag, text.encode("utf-8", "backslashreplace"))


def _any(value: Any) -> bytes:
    """An `AnyValue`."""
    if isinstance(value, str):
        return _text(1, value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, bytes):
        return _field(7, value)
    return _field(5, b"".join([_field(1, _any(each)) for each in value]))


def _pair(key: str, value: Any) -> bytes:
    """A `KeyValue`."""
    return _text(1, key) + _field(2, _any(value))


class SpanEncoder:
    """Encodes spans; remembers what they have in common."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, type, Any], bytes] = {}
        self._names: dict[tuple[str, SpanKind], bytes] = {}

    def request(self, spans: Iterable[ReadableSpan]) -> bytes:
        """An `ExportTraceServiceRequest` of spans that share resource and scope."""
        resource = scope = None
        encoded: list[bytes] = []
        for span in spans:
            resource, scope = span.resource, span.instrumentation_scope
            one = self._span(span)
            encoded.append(b"\x12" + varint(len(one)) + one)
        if resource is None:
            return b""
        inside = b"".join([_scope(scope), *encoded, _text(3, c.SCHEMA_URL)])
        url = _text(3, resource.schema_url) if resource.schema_url else b""
        return _field(1, _resource(resource) + _field(2, inside) + url)

    def _span(self, span: ReadableSpan) -> bytes:
        context, parent = span.context, span.parent
        parts = [_context(context)]
        if parent is None:
            flags = _HAS_REMOTE
        else:
            parts.append(b'"\x08' + parent.span_id.to_bytes(8, "big"))
            flags = _HAS_REMOTE | _IS_REMOTE if parent.is_remote else _HAS_REMOTE
        parts.append(self._name(span.name, span.kind))
        parts.append(_times(0x39, span.start_time or 0, 0x41, span.end_time or 0))
        self._attributes(parts, b"\x4a", span.attributes)
        parts.extend([_field(11, self._event(event)) for event in span.events])
        parts.extend([_field(13, self._link(link)) for link in span.links])
        status = span.status
        if status.status_code.value:
            text = _text(2, status.description) if status.description else b""
            parts.append(_field(15, text + b"\x18" + bytes((status.status_code.value,))))
        else:
            parts.append(b"\x7a\x00")
        parts.append(_flags(0x85, 0x01, flags))
        return b"".join(parts)

    def _name(self, name: str, kind: SpanKind) -> bytes:
        found = self._names.get((name, kind))
        if found is None:
            found = _text(5, name) + b"\x30" + bytes((_KINDS[kind],))
            if len(self._names) < _MOST_KEPT:
                self._names[name, kind] = found
        return found

    def _attributes(
        self, parts: list[bytes], tag: bytes, attributes: Mapping[str, Any] | None
    ) -> None:
        kept = self._pairs
        for key, value in (attributes or {}).items():
            if key in _SINGLE or not _is_kept(value):
                pair = _pair(key, value)
                parts.append(tag + varint(len(pair)) + pair)
                continue
            which = (key, type(value), value)  # True and 1 are equal, and not the same
            found = kept.get(which)
            if found is None:
                pair = _pair(key, value)
                found = varint(len(pair)) + pair
                if len(kept) < _MOST_KEPT:
                    kept[which] = found
            parts.append(tag + found)

    def _event(self, event: Event) -> bytes:
        parts = [b"\x09" + _fixed64(event.timestamp), _text(2, event.name)]
        self._attributes(parts, b"\x1a", event.attributes)
        return b"".join(parts)

    def _link(self, link: Link) -> bytes:
        parts = [_context(link.context)]
        self._attributes(parts, b"\x22", link.attributes)
        remote = _HAS_REMOTE | _IS_REMOTE if link.context.is_remote else _HAS_REMOTE
        parts.append(b"\x35" + struct.pack("<I", remote))
        return b"".join(parts)


def _is_kept(value: Any) -> bool:
    """Whether the value may be kept: it is small, and equal to nothing else of its type."""
    if isinstance(value, str | bytes):
        return len(value) <= _LONGEST_KEPT
    return isinstance(value, bool | int | float)


def _context(context: SpanContext) -> bytes:
    """Trace id, span id and trace state, as a span and a link begin."""
    high, low = context.trace_id >> 64, context.trace_id & 0xFFFFFFFFFFFFFFFF
    found = b"\x0a\x10" + _ids.pack(high, low) + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    if context.trace_state:
        found += _text(3, context.trace_state.to_header())
    return found


def _scope(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return b""
    return _field(1, _text(1, scope.name) + (_text(2, scope.version) if scope.version else b""))


def _resource(resource: Resource) -> bytes:
    pairs = [_field(1, _pair(key, value)) for key, value in resource.attributes.items()]
    return _field(1, b"".join(pairs))


__all__ = ["SpanEncoder", "varint"]
