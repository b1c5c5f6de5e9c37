"""The value codec: what a node emits becomes bytes, and an equal value of the same type again.

What travels, under which extension type, and what does not is written down in `docs/envelope.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Raw
from pydantic import ValidationError

from penguiflow.durable.envelope import MAX_BYTES, MESSAGE, VALUE, Output
from penguiflow.durable.packing import Packer, encode
from penguiflow.durable.packing_types import Learner
from penguiflow.durable.typemap import TypeMap
from penguiflow.durable.unpacking import Unpacker, reason
from penguiflow.durable.wire_errors import (
    MalformedValue,
    NotEncodable,
    UnknownType,
    ValueTooLarge,
    WireError,
)
from penguiflow.types import Headers, Message

_A_NAME: Final = "the name of a field"
_EMPTY_DICT: Final = Raw(b"\x80")
_NUMBER: Final = frozenset((int, float))
_OPTIONAL_NUMBER: Final = frozenset((int, float, type(None)))
_OPTIONAL_TEXT: Final = frozenset((str, type(None)))


class ValueCodec:
    """Packs and unpacks values. It keeps no state between calls but what it learnt about types.

    Args:
        types: The types that a value may be of.
        check: Whether every packed value is read again and compared, so that a validator or a
            constructor that changes what it is given is found where it happens. For tests.
        max_bytes: Bytes that a packed value may have, at most 64 MiB.

    Raises:
        ValueError: `max_bytes` is out of range.
    """

    def __init__(
        self, types: TypeMap | None = None, *, check: bool = False, max_bytes: int = MAX_BYTES
    ) -> None:
        if not 0 < max_bytes <= MAX_BYTES:
            msg = f"max_bytes must be from 1 to {MAX_BYTES}, not {max_bytes}"
            raise ValueError(msg)
        types = types or TypeMap()
        learn = Learner(types)
        self._packer = Packer(learn, careful=False)
        self._careful = Packer(learn, careful=True)
        self._unpacker = Unpacker(types)
        self._check = check
        self._max_bytes = max_bytes
        self.unpack: Callable[[bytes | memoryview | Raw], Any] = self._unpacker.unpack

    def pack(self, value: Any, at: str = "value") -> bytes:
        """The bytes of a value.

        Args:
            value: Anything that can travel.
            at: What the value is called in an error's path.

        Raises:
            NotEncodable: it holds something that cannot travel, or is nested too deeply.
            ValueTooLarge: it has more than `max_bytes` bytes.
        """
        try:
            data = self._pack(value)
        except NotEncodable as error:
            raise error.within(at) from None
        if len(data) > self._max_bytes:
            hint = (
                f"its {len(data)} bytes exceed the limit of {self._max_bytes}; raise "
                "max_value_bytes, or keep it as an artifact and pass the reference"
            )
            raise ValueTooLarge(type(value).__name__, hint, at)
        if self._check:
            self._compare(value, data, at)
        return data

    def _pack(self, value: Any) -> bytes:
        try:
            return encode(self._packer.convert(value, 0))
        except (OverflowError, UnicodeEncodeError):  # an int beyond 64 bits, a lone surrogate
            pass
        try:
            return encode(self._careful.convert(value, 0))
        except UnicodeEncodeError as exc:
            raise NotEncodable(_A_NAME, str(exc)) from None

    def _compare(self, value: Any, data: bytes, at: str) -> None:
        try:
            again = self.unpack(data)
        except MalformedValue as exc:
            raise NotEncodable(type(value).__name__, f"it does not read back: {exc}", at) from exc
        if type(again) is not type(value) or (again != value and self._pack(again) != data):
            hint = "it reads back as something else; make its validators accept their own result"
            raise NotEncodable(type(value).__name__, hint, at)

    def pack_output(self, value: Any, targets: Iterable[str], trace: str) -> Output:
        """What a node emitted, for the envelope.

        Args:
            value: A `Message` or any other value.
            targets: Names of the nodes it is for, or `EGRESS`.
            trace: The trace in which it was emitted.

        Raises:
            NotEncodable: as `pack`.
        """
        if type(value) is not Message or not _is_regular(value):
            return Output(Raw(self.pack(value, "payload")), tuple(targets), VALUE, trace)
        headers = value.headers
        return Output(
            Raw(self.pack(value.payload, "payload")),
            tuple(targets),
            MESSAGE,
            value.trace_id,
            headers.tenant,
            headers.topic,
            headers.priority,
            value.ts,
            value.deadline_s,
            Raw(self.pack(value.meta, "meta")) if value.meta else _EMPTY_DICT,
        )

    def unpack_output(self, output: Output) -> Any:
        """The value that was emitted.

        Raises:
            MalformedValue: as `unpack`.
        """
        payload = self.unpack(output.payload)
        if output.kind == VALUE:
            return payload
        # One validation of the whole instead of two constructors: a third of the time.
        fields = {
            "payload": payload,
            "headers": {
                "tenant": output.tenant,
                "topic": output.topic,
                "priority": output.priority,
            },
            "trace_id": output.trace_id,
            "ts": output.ts,
            "deadline_s": output.deadline_s,
            "meta": self.unpack(output.meta),
        }
        try:
            return Message.__pydantic_validator__.validate_python(fields)
        except ValidationError as exc:
            msg = f"malformed value: no Message: {reason(exc)}"
            raise MalformedValue(msg) from exc


def _is_regular(message: Message) -> bool:
    """Whether the envelope's own fields hold the message. A message with, say, headers of a
    subclass travels as a value."""
    headers = message.headers
    return (
        type(headers) is Headers
        and type(message.trace_id) is str
        and type(headers.tenant) is str
        and type(headers.topic) in _OPTIONAL_TEXT
        and type(headers.priority) is int
        and type(message.ts) in _NUMBER
        and type(message.deadline_s) in _OPTIONAL_NUMBER
        and type(message.meta) is dict
    )


__all__ = [
    "MalformedValue",
    "NotEncodable",
    "TypeMap",
    "UnknownType",
    "ValueCodec",
    "ValueTooLarge",
    "WireError",
]
