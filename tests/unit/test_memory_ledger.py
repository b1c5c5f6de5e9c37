"""The ledger of a consumer, where the machine does not look: bounds and the next change."""

from __future__ import annotations

from penguiflow.memory.ledger import Ledger

LEASE = 10.0


def make(*sequences: int, max_ack_pending: int = 100) -> Ledger:
    ledger = Ledger(LEASE, max_ack_pending)
    for sequence in sequences:
        ledger.offer(sequence)
    return ledger


def test_nothing_is_owed_at_first() -> None:
    ledger = make()
    assert ledger.take(0.0) is None
    assert ledger.next_change() is None


def test_the_next_change_is_the_earliest_lease_or_delay() -> None:
    ledger = make(1, 2, 3)
    for now in (0.0, 1.0, 2.0):
        ledger.take(now)
    assert ledger.next_change() == 10.0
    ledger.hand_back(1, 2.0, 3.0)
    assert ledger.next_change() == 5.0
    ledger.hand_back(1, 2.0, 30.0)
    assert ledger.take(5.0) is None
    assert ledger.next_change() == 11.0
    ledger.settle(2)
    ledger.settle(3)
    assert ledger.next_change() == 32.0
    assert ledger.take(32.0) == (1, 2)


def test_several_that_are_due_together_come_in_order() -> None:
    ledger = make(1, 2, 3)
    for _ in range(3):
        ledger.take(0.0)
    ledger.renew(1, 1.0)
    ledger.hand_back(3, 1.0, 2.0)
    assert [ledger.take(20.0) for _ in range(4)] == [(1, 2), (2, 2), (3, 2), None]


def test_what_was_handed_back_at_once_can_still_be_delayed() -> None:
    ledger = make(1)
    ledger.take(0.0)
    ledger.hand_back(1, 0.0, 0.0)
    ledger.hand_back(1, 0.0, 5.0)
    assert ledger.take(0.0) is None
    ledger.hand_back(1, 1.0, 0.0)
    assert ledger.take(1.0) == (1, 2)


def test_a_delay_can_be_ended_by_progress() -> None:
    ledger = make(1)
    ledger.take(0.0)
    ledger.hand_back(1, 0.0, 100.0)
    ledger.renew(1, 1.0)
    assert ledger.take(11.0) == (1, 2)


def test_progress_after_the_lease_changes_nothing() -> None:
    ledger = make(1)
    ledger.take(0.0)
    ledger.renew(1, LEASE)
    assert ledger.take(LEASE) == (1, 2)


def test_the_limit_counts_what_waits_for_its_delay_and_what_is_due() -> None:
    ledger = make(1, 2, 3, max_ack_pending=2)
    ledger.take(0.0)
    ledger.take(0.0)
    ledger.hand_back(1, 0.0, 5.0)
    ledger.hand_back(2, 0.0, 0.0)
    assert ledger.num_ack_pending == 2
    assert ledger.take(0.0) == (2, 2)
    assert ledger.take(0.0) is None
    assert ledger.num_waiting == 1
    ledger.settle(1)
    assert ledger.take(0.0) == (3, 1)


def test_a_settled_entry_is_forgotten_with_its_count() -> None:
    ledger = make(1)
    ledger.take(0.0)
    ledger.settle(1)
    ledger.hand_back(1, 0.0, 0.0)
    ledger.renew(1, 0.0)
    assert ledger.take(100.0) is None
    assert ledger.num_ack_pending == 0
    assert ledger._counts == {}


def test_an_entry_that_left_the_log_is_owed_nowhere() -> None:
    ledger = make(1, 2, 3, 4)
    ledger.take(0.0)
    ledger.take(0.0)
    ledger.take(0.0)
    ledger.hand_back(1, 0.0, 0.0)
    ledger.hand_back(2, 0.0, 5.0)
    for sequence in (1, 2, 3, 4):
        ledger.forget(sequence)
    assert ledger.take(100.0) is None
    assert (ledger.num_waiting, ledger.num_ack_pending) == (0, 0)


def test_endless_delays_leave_no_heap_of_timers() -> None:
    ledger = make(1)
    ledger.take(0.0)
    for _ in range(10_000):
        ledger.hand_back(1, 0.0, 1_000_000.0)
    assert len(ledger._timers) < 100
    assert ledger.take(1_000_000.0) == (1, 2)
