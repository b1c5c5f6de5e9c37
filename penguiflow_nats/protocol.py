"""The client protocol as pure functions: frames out, header blocks in.

No I/O and no state. Names are spelled as given: the server compares header names exactly, so this
package writes each one in a single fixed spelling.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from penguiflow_nats.errors import InvalidHeader, InvalidSubject, PayloadTooLarge

VERSION_LINE: Final = b"NATS/1.0"
MAX_SUBJECTS: Final = 3_500
"""Bytes of subject and reply together. The server closes a client whose control line passes its
`max_control_line` (4,096 by default); the rest of the line needs some room too."""

_SHORT: Final = MAX_SUBJECTS // 4
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_VIOLATION = re.compile(
    r'permissions violation for (publish|subscription)(?: with reply of| to)? "([^"]*)"',
    re.IGNORECASE,
)


def check_subject(subject: str) -> None:
    """Refuse what would break the protocol line.

    Raises:
        InvalidSubject: Empty, or with a blank or a character that is not printable.
    """
    if not subject or " " in subject or not subject.isprintable():
        raise InvalidSubject(subject)


@lru_cache(maxsize=1024)
def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidHeader(name)


def header_block(headers: Mapping[str, str]) -> str:
    """Build a header block.

    Raises:
        InvalidHeader: A name is not a token or a value holds a line break.
    """
    block = "NATS/1.0"
    for name, value in headers.items():
        _check_name(name)
        if "\n" in value or "\r" in value:
            raise InvalidHeader(name)
        block += f"\r\n{name}: {value}"
    return block + "\r\n\r\n"


def publish_frame(
    subject: str,
    reply: str,
    payload: bytes,
    headers: Mapping[str, str] | None,
    max_payload: int,
) -> bytes:
    """Build the bytes of one publish.

    Args:
        subject: Where to.
        reply: Where answers go, or "".
        payload: Message body.
        headers: Message headers, or None.
        max_payload: Bytes that the server accepts.

    Raises:
        PayloadTooLarge: Payload, headers and subject together exceed `max_payload`.
        InvalidSubject: Subject or reply would break the line.
        InvalidHeader: A header would break the block.
    """
    if not subject or " " in subject or not subject.isprintable():
        raise InvalidSubject(subject)
    if reply and (" " in reply or not reply.isprintable()):
        raise InvalidSubject(reply)
    size = len(payload)
    length = len(subject)
    if headers:
        block = header_block(headers)
        width = len(block) if block.isascii() else len(block.encode())
        size += width
        line = f"HPUB {subject} {reply} {width} {size}\r\n{block}"
    else:
        line = f"PUB {subject} {reply} {size}\r\n"
    # Four bytes are the most that a character takes, so most lines need not be measured.
    short = length + len(reply) <= _SHORT
    if not short and len((subject + reply).encode()) > MAX_SUBJECTS:
        raise InvalidSubject(subject)
    # Payload and headers are what the server counts; the subject is counted too so that a message
    # which is stored, and later delivered with more header lines, keeps a little room.
    if size + length > max_payload:
        raise PayloadTooLarge(size + length, max_payload)
    return b"".join((line.encode(), payload, b"\r\n"))


def parse_status(block: bytes) -> tuple[int, str]:
    """Read the inline status of a header block: `(503, "")`, or `(0, "")` without one.

    Only the first line counts. A header that is *named* Status is content of a message, and anyone
    may write it.
    """
    if len(block) < 12 or block[8] != 32:
        return 0, ""
    line = block[9 : block.find(b"\r\n")].decode("utf-8", "replace")
    code, _, description = line.partition(" ")
    return (int(code), description.strip()) if code.isdigit() else (0, "")


def parse_headers(block: bytes) -> dict[str, str]:
    """Read the lines of a header block; of a repeated name the last one counts.

    Lines without a colon and names that are not ASCII are skipped.
    """
    headers: dict[str, str] = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.isascii():
            key = name.strip().decode("ascii")
            if key and not any(c.isspace() for c in key):
                headers[key] = value.strip().decode("utf-8", "replace")
    return headers


def parse_violation(text: str) -> tuple[str, str] | None:
    """Read a permission error: `("publish" or "subscription", subject)`; None for other errors.

    nats-py hands the text over in lower case, so the subject is only good for comparing.
    """
    match = _VIOLATION.search(text)
    return (match[1].lower(), match[2]) if match else None
