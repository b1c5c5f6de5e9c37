"""Python values as parts of A2A messages and artifacts, and back. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from a2a.types.a2a_pb2 import Artifact, Message, Part
from google.protobuf.json_format import MessageToDict, ParseDict
from pydantic_core import PydanticSerializationError, to_jsonable_python

from penguiflow.types import FinalAnswer

_EXACT = 2**53
"""JSON numbers of the protocol are doubles: integers beyond this are written as text."""


def parts_of(value: Any) -> list[Part]:  # noqa: PLR0911 - one per kind of value
    """The parts that say a value; none for None. Any JSON value has some, and so has each model.

    Raises:
        ValueError: the value cannot be written as JSON.
    """
    match value:
        case None:
            return []
        case Part():
            return [value]
        case Message() | Artifact():
            return list(value.parts)
        case str():
            return [Part(text=value, media_type="text/plain")]
        case bytes() | bytearray() | memoryview():
            return [Part(raw=bytes(value), media_type="application/octet-stream")]
        case FinalAnswer():
            cited = [data_part({"citations": list(value.citations)})] if value.citations else []
            return [*parts_of(value.text), *cited]
        case [Part(), *_] if all(isinstance(each, Part) for each in value):
            return list(value)
        case _:
            return [data_part(value)]


def data_part(value: Any) -> Part:
    """A JSON value as a part. Raises `ValueError`."""
    try:
        plain = to_jsonable_python(value, inf_nan_mode="strings", bytes_mode="base64")
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        msg = f"a {type(value).__name__} cannot be written as JSON: {error}"
        raise ValueError(msg) from error
    part = Part(media_type="application/json")
    ParseDict(_exact(plain), part.data)
    return part


def _exact(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int():
            return value if -_EXACT <= value <= _EXACT else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {str(key): _exact(each) for key, each in value.items()}
        case list():
            return [_exact(each) for each in value]
        case _:
            return value


def value_of(parts: Sequence[Part]) -> Any:
    """What a flow is given for the parts of a message: the text, the data, the bytes; of several
    texts the lines; of anything else a list of the parts as JSON."""
    if len(parts) == 1:
        part = parts[0]
        match part.WhichOneof("content"):
            case "text":
                return part.text
            case "raw":
                return part.raw
            case "data":
                return json_value(part)
            case _:
                return plain_parts(parts)
    if parts and all(part.WhichOneof("content") == "text" for part in parts):
        return "\n".join(part.text for part in parts)
    return plain_parts(parts)


def json_value(part: Part) -> Any:
    """The data of a part; whole numbers are integers."""
    return _whole(MessageToDict(part.data))


def plain_parts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Parts as JSON."""
    return [_whole(MessageToDict(part)) for part in parts]


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        case dict():
            return {key: _whole(each) for key, each in value.items()}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value
