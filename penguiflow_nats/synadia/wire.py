"""Prompts, chunks and errors of the protocol. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from pydantic_core import to_jsonable_python

BAD_REQUEST: Final = 400
UNAUTHORISED: Final = 401
NOT_FOUND: Final = 404
CONFLICT: Final = 409
BUSY: Final = 429
FAILED: Final = 500

ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
_LONGEST_ERROR: Final = 200

_KILOBYTE: Final = 1024
_OVERHEAD: Final = 16 * _KILOBYTE
"""What a call may need beside the prompt. It travels on in one message, like the prompt here."""
_ESCAPED: Final = 8
"""Bytes that a character can take in a chunk, and a little more."""


class Refused(Exception):
    """A request or a task that ends with an error of the protocol.

    Attributes:
        code: Of the protocol.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    def headers(self) -> dict[str, str]:
        """The error as headers: one line of ASCII."""
        line = " ".join(str(self).encode("ascii", "replace").decode().split())
        kept = "".join(each for each in line if each.isprintable())
        return {ERROR_CODE: str(self.code), ERROR: kept[:_LONGEST_ERROR] or "error"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a client asks."""

    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else its envelope has, as it is."""


def read_prompt(data: bytes, limit: int) -> Prompt:
    """The prompt in a request.

    Raises:
        Refused: there is none, it is too long, or it has attachments, which no agent here takes.
    """
    if not data:
        raise Refused(BAD_REQUEST, "the request is empty")
    if len(data) > limit:
        raise Refused(BAD_REQUEST, f"the request has {len(data)} bytes; {limit} are allowed")
    if not data.lstrip(b" \t\r\n").startswith(b"{"):
        try:
            return Prompt(data.decode("utf-8"))
        except UnicodeDecodeError:
            raise Refused(BAD_REQUEST, "the request is neither JSON nor UTF-8 text") from None
    try:
        envelope = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(BAD_REQUEST, "the request is malformed JSON") from None
    text = envelope.pop("prompt", None)
    if not isinstance(text, str) or not text:
        raise Refused(BAD_REQUEST, "prompt must be a text that is not empty")
    if envelope.pop("attachments", None):
        raise Refused(BAD_REQUEST, "this agent takes no attachments")
    return Prompt(text, envelope)


def chunk(kind: str, data: Any) -> bytes:
    """A chunk of an answer."""
    return msgspec.json.encode({"type": kind, "data": data})


ACK: Final = chunk("status", "ack")


def responses(text: str, max_payload: int) -> Iterator[bytes]:
    """The text as chunks, of which each fits into a message."""
    size = max(1, max_payload // _ESCAPED)
    clean = text.encode("utf-8", "replace").decode()
    for start in range(0, len(clean), size):
        yield chunk("response", clean[start : start + size])


def as_text(result: Any) -> str:
    """A result for somebody who reads."""
    if isinstance(result, str):
        return result
    return msgspec.json.encode(to_jsonable_python(result, fallback=str)).decode()


def longest_prompt(max_payload: int) -> int:
    """Bytes that a request may have, so that the call it leads to fits into a message, too."""
    return max(_KILOBYTE, max_payload - _OVERHEAD) // _KILOBYTE * _KILOBYTE


def written(size: int) -> str:
    """A size in the form of the protocol."""
    return f"{size // _KILOBYTE}KB"


__all__ = [
    "ACK",
    "BAD_REQUEST",
    "BUSY",
    "CONFLICT",
    "FAILED",
    "NOT_FOUND",
    "UNAUTHORISED",
    "Prompt",
    "Refused",
    "as_text",
    "chunk",
    "longest_prompt",
    "read_prompt",
    "responses",
    "written",
]
