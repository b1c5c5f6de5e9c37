"""Shares of a submission: how a flow knows that nothing of it is under way any more.

A submission enters with weight 1. An input's weight is split evenly between what follows from it,
and what ends hands its share in. When the shares that were handed in sum up to the number of
submissions, every branch has ended. A share is text, `"1"` or `"n/d"` in lowest terms, and exact:
thirds of thirds sum up to one again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

WHOLE = "1"
"""The weight of a submission."""
NOTHING = "0"
"""The sum of no shares."""

MAX_DIGITS = 4000
"""Longest share as text. Halving at every hop reaches it after more than 13,000 hops."""

_SHARE = re.compile(r"0|[1-9][0-9]*(?:/[1-9][0-9]*)?")


def parse(weight: str) -> Fraction:
    """The number behind a share.

    Raises:
        ValueError: the text is not in the one form in which shares are written.
    """
    if weight == WHOLE:
        return Fraction(1)
    if len(weight) > MAX_DIGITS or _SHARE.fullmatch(weight) is None:
        msg = f"not a share: {weight[:40]!r}"
        raise ValueError(msg)
    share = Fraction(weight)
    if str(share) != weight:
        msg = f"not a share in lowest terms: {weight[:40]!r}"
        raise ValueError(msg)
    return share


def split(weight: str, parts: int) -> str:
    """What each of `parts` equal parts carries.

    Raises:
        ValueError: fewer than one part, not a share, or more digits than a share may have.
    """
    if parts < 1:
        msg = f"cannot split a share into {parts} parts"
        raise ValueError(msg)
    if parts == 1:
        return weight
    if weight == WHOLE:
        return f"1/{parts}"
    return _text(parse(weight) / parts)


def add(weights: Iterable[str]) -> str:
    """The exact sum."""
    total = Fraction(0)
    wholes = 0
    for weight in weights:
        if weight == WHOLE:
            wholes += 1
        else:
            total += parse(weight)
    return _text(total + wholes) if total else str(wholes)


def is_whole(total: str, n: int = 1) -> bool:
    """Whether the total is all of `n` submissions."""
    return total == str(n)


def _text(share: Fraction) -> str:
    text = str(share)
    if len(text) > MAX_DIGITS:
        msg = f"a share needs more than {MAX_DIGITS} digits; the flow splits too often"
        raise ValueError(msg)
    return text
