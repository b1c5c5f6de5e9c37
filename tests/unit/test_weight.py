"""Shares of a submission: exact, in one form, and never more or less than all of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow.durable.weight import MAX_LENGTH, WHOLE, add, is_whole, parse, split

patient = settings(deadline=None)  # a busy machine is no failure
parts = st.integers(min_value=1, max_value=1000)


@patient
@given(st.lists(parts, max_size=8), st.lists(parts, max_size=8))
def test_a_tree_of_splits_sums_up_to_one(one: list[int], other: list[int]) -> None:
    def leaves(weight: str, widths: list[int]) -> list[str]:
        """One branch goes on, its siblings end, at every level."""
        if not widths:
            return [weight]
        share = split(weight, widths[0])
        return [share] * (widths[0] - 1) + leaves(share, widths[1:])

    returned = leaves(WHOLE, one) + leaves(WHOLE, other)
    assert is_whole(add(returned), 2)
    assert not is_whole(add(returned[1:]), 2)


@patient
@given(st.lists(parts, max_size=20))
def test_splitting_is_division(widths: list[int]) -> None:
    weight, exact = WHOLE, Fraction(1)
    for width in widths:
        weight, exact = split(weight, width), exact / width
    assert parse(weight) == exact


@patient
@given(st.lists(st.fractions(min_value=0), max_size=6))
def test_adding_is_addition(numbers: list[Fraction]) -> None:
    texts = [add([]) if n == 0 else add([_share(n)]) for n in numbers]
    assert parse(add(texts)) == sum(numbers, Fraction(0))


def _share(number: Fraction) -> str:
    n, d = number.numerator, number.denominator
    return f"{n:x}" if d == 1 else f"{n:x}/{d:x}"


def test_the_forms() -> None:
    assert split("1", 1) == "1"
    assert split("1", 3) == "1/3"
    assert split("1", 16) == "1/10", "hexadecimal"
    assert split("2/3", 2) == "1/3"
    assert split("3", 2) == "3/2", "a join of three submissions"
    assert add(["1/3", "1/6", "1/2"]) == "1"
    assert add(["1", "1", "1/2"]) == "5/2"
    assert add([]) == "0"
    assert add(iter(["1"])) == "1"


def test_the_whole_of_several_submissions() -> None:
    assert is_whole("1")
    assert is_whole("1a", 26)
    assert not is_whole("0")
    assert not is_whole("1/2")
    assert not is_whole("2")
    assert not is_whole("1", 2)


@pytest.mark.parametrize(
    "text",
    [
        "", "nan", "inf", "-1", "+1", "1.0", "1/0", "0/1", "1/1", "2/4", "01", "1/03", " 1", "1 ",
        "1/2/3", "1/", "/2", "1e3x", "A", "1/B", "0x1", "1_0", "\u0661", "1\n", "\u00bd",
    ],
)  # fmt: skip
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="not a share"):
        parse(text)
    with pytest.raises(ValueError, match="not a share"):
        add(["1", text])
    with pytest.raises(ValueError, match="not a share"):
        split(text, 2)


def test_nothing_is_split_into_nothing() -> None:
    for count in (0, -1):
        with pytest.raises(ValueError, match="cannot split"):
            split("1", count)


def test_sixteen_thousand_halvings_fit_and_sum_up() -> None:
    weight, returned = WHOLE, []
    for hop in range(16_000):
        weight = split(weight, 2)
        if hop % 1000 == 999:
            returned.append(weight)
    assert parse(add(returned)) == sum(Fraction(1, 2**n) for n in range(1000, 16_001, 1000))


def test_a_share_that_cannot_be_written_is_an_error_and_no_rounding() -> None:
    with pytest.raises(ValueError, match="splits too often"):
        split("1/" + "f" * (MAX_LENGTH - 2), 2**64)
