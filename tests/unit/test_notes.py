"""How attempts and deaths are counted from the notes of an input and its count of deliveries."""

from __future__ import annotations

import pytest

from penguiflow.durable.notes import (
    BEGUN,
    FAILED_BACK,
    FAILED_HERE,
    HANDED_BACK,
    LEFT,
    Past,
    _past,
)

SUSPECTED_AFTER = 3


def notes(*ends: str) -> list[str]:
    """Notes as they are named: the input or its entry, which delivery, a number, how it ended."""
    return [f"the_input_{end}" for end in ends]


@pytest.mark.parametrize(
    ("ends", "num_delivered", "attempts", "deaths"),
    [
        pytest.param((), 1, 0, 0, id="the delivery in hand is no death"),
        pytest.param((), 3, 2, 2, id="a delivery without a note ended in a death"),
        pytest.param((f"1_0{HANDED_BACK}",), 2, 0, 0, id="a hand-back costs nothing"),
        pytest.param((f"1_0{FAILED_BACK}",), 2, 1, 0, id="a long back-off is one attempt"),
        pytest.param(
            (f"1_0{FAILED_HERE}", f"1_1{FAILED_HERE}"), 1, 2, 0, id="failures of one delivery"
        ),
        pytest.param(
            (f"1_0{FAILED_HERE}", f"1_1{FAILED_HERE}"), 2, 3, 1, id="failures, then a death"
        ),
        pytest.param(
            (f"1_0{FAILED_HERE}", f"1_1{HANDED_BACK}"), 2, 1, 0, id="a failure, then a hand-back"
        ),
        pytest.param(
            (f"1_0{HANDED_BACK}", f"3_0{FAILED_BACK}"), 4, 2, 1, id="a death between two ends"
        ),
        pytest.param((f"4{LEFT}",), 5, 0, 0, id="left to newer workers, as far as it holds"),
        pytest.param((f"4{LEFT}",), 8, 0, 0, id="the note of the fourth holds up to the seventh"),
        pytest.param((f"4{LEFT}",), 10, 2, 2, id="deaths after the note ran out"),
        pytest.param((f"1{LEFT}", f"2{LEFT}", f"4{LEFT}"), 9, 1, 1, id="the last such note counts"),
    ],
)
def test_attempts_and_deaths(
    ends: tuple[str, ...], num_delivered: int, attempts: int, deaths: int
) -> None:
    assert _past(notes(*ends), num_delivered, SUSPECTED_AFTER) == Past(attempts, deaths)


def test_what_was_begun_twice_in_one_delivery_is_one_death() -> None:
    there = notes(f"4_0{BEGUN}", f"4_0{BEGUN}")
    assert _past(there, 5, SUSPECTED_AFTER) == Past(attempts=4, deaths=4)


def test_of_a_suspect_only_deaths_count_over_which_it_had_begun() -> None:
    """Its neighbours' deaths took it down too: three of them make it a suspect, no more."""
    assert _past([], 20, SUSPECTED_AFTER) == Past(attempts=3, deaths=3)
    there = notes(f"7_0{BEGUN}", f"11_0{BEGUN}")
    assert _past(there, 20, SUSPECTED_AFTER) == Past(attempts=5, deaths=5)


def test_a_suspect_that_begins_now_is_not_dead() -> None:
    there = notes(f"4_0{BEGUN}")
    assert _past(there, 4, SUSPECTED_AFTER) == Past(attempts=3, deaths=3)


def test_a_suspect_that_failed_or_was_handed_back_is_not_dead() -> None:
    there = notes(f"4_0{BEGUN}", f"4_1{HANDED_BACK}", f"5_0{BEGUN}", f"5_1{FAILED_BACK}")
    assert _past(there, 6, SUSPECTED_AFTER) == Past(attempts=4, deaths=3)
