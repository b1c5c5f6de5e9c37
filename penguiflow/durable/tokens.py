"""Names as tokens: any text, written with the letters that every key and subject can carry.

A token fully matches `[A-Za-z0-9_-]{1,64}`, so it never holds a separator or a wildcard. Text that
fits stays readable as it is; all other text is hashed, and two texts never share a token.
"""

from __future__ import annotations

import hashlib
import re

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")

HASHED = "_h_"
"""How a hashed token starts. Text that starts so is hashed itself, or it could pose as one."""

_READABLE = 20
"""Characters of the text that a hashed token shows to a human."""


def is_token(text: str) -> bool:
    """Whether the text can stand in a key as it is."""
    return _TOKEN.fullmatch(text) is not None


def token(text: str) -> str:
    """The token of a text: the text itself if it is one, else a readable start and a hash.

    Call it once, on the user's text: the token of a hashed token is another one.
    """
    if is_token(text) and not text.startswith(HASHED):
        return text
    # Text from outside may hold lone surrogates; they are hashed, not refused.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    readable = _UNSAFE.sub("_", text[:_READABLE])
    return f"{HASHED}{readable}-{digest}"


def trace_token(trace_id: str) -> str:
    """The token under which a trace is kept, from the id its user holds."""
    return token(trace_id)


def derive(*parts: str | int) -> str:
    """An id of 32 hex digits that follows from the parts and from nothing else.

    Every part goes in with its type and its length, so that no two different lists of parts are
    the same bytes: `("a", "bc")` is not `("ab", "c")`, and `1` is not `"1"`.
    """
    # "s5:hello" per text, "i12" per number: a length, then exactly so much text.
    joined = "".join(
        [f"i{part};" if isinstance(part, int) else f"s{len(part)}:{part}" for part in parts]
    )
    data = joined.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16, person=b"penguiflow.id.v1").hexdigest()
