"""Shares of a submission: how a flow knows that nothing of it is under way any more.

A submission enters with weight 1. An input's weight is split evenly between what follows from it,
and what ends hands its share in. When the shares that were handed in sum up to the number of
submissions, every branch has ended. Shares are exact: thirds of thirds sum up to one again.

A share is text, `"1"` or `"n/d"` in lowest terms, its numbers hexadecimal: unlike decimal ones
they are read and written in linear time, at any length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Final

WHOLE: Final = "1"
"""The weight of a submission."""

MAX_LENGTH: Final = 4096
"""Characters of a share. Halving at every hop reaches it after more than 16,000 hops."""

_SHARE = re.compile(r"(0|[1-9a-f][0-9a-f]*)(?:/([1-9a-f][0-9a-f]*))?")


@lru_cache(maxsize=1024)
def parse(weight: str) -> Fraction:
    """The number behind a share or a sum of shares.

    Raises:
        ValueError: the text is not in the one form in which shares are written.
    """
    found = _SHARE.fullmatch(weight)
    if found is not None:
        number = Fraction(int(found[1], 16), int(found[2] or "1", 16))
        if _text(number) == weight:
            return number
    msg = f"not a share in lowest terms: {weight[:40]!r}"
    raise ValueError(msg)


def split(weight: str, parts: int) -> str:
    """What each of `parts` equal parts carries.

    Raises:
        ValueError: fewer than one part, not a share, or the parts are too small to be written.
    """
    if parts < 1:
        msg = f"cannot split a share into {parts} parts"
        raise ValueError(msg)
    if parts == 1:
        return weight
    share = f"1/{parts:x}" if weight == WHOLE else _text(parse(weight) / parts)
    if len(share) > MAX_LENGTH:
        msg = f"a share of more than {MAX_LENGTH} characters: the flow splits too often"
        raise ValueError(msg)
    return share


def add(weights: Iterable[str]) -> str:
    """The exact sum; `"0"` of no shares.

    Raises:
        ValueError: not a share.
    """
    # Siblings carry equal shares, so most of a sum is a multiplication.
    total = Fraction(0)
    for weight, times in Counter(weights).items():
        total += times if weight == WHOLE else times * parse(weight)
    return _text(total)


def is_whole(total: str, n: int = 1) -> bool:
    """Whether the total is all of `n` submissions."""
    return total == f"{n:x}"


def _text(number: Fraction) -> str:
    if number.denominator == 1:
        return f"{number.numerator:x}"
    return f"{number.numerator:x}/{number.denominator:x}"
