"""What a durable consumer still owes: waiting, held under a lease, or due again (pure).

The rules are JetStream's. A settlement names an entry, not a delivery: the late ack of a holder
whose lease ran out still settles the entry, and its late nak still hands it back.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict


class Ledger:
    """The state of one consumer, by sequence.

    An entry is in exactly one of these places until it is settled or leaves the log: `waiting`
    (never handed out), `leased`, `delayed` (handed back for later), `due` (to be handed out again).
    """

    __slots__ = (
        "_counts",
        "_delayed",
        "_due",
        "_lease",
        "_leased",
        "_max_ack_pending",
        "_timers",
        "_waiting",
    )

    def __init__(self, lease: float, max_ack_pending: int) -> None:
        self._lease = lease
        self._max_ack_pending = max_ack_pending
        # Ordered dicts, because taking the first of a plain dict slows down as its front empties.
        self._waiting: OrderedDict[int, None] = OrderedDict()
        # All leases are equally long, so the order of renewal is the order of expiry.
        self._leased: OrderedDict[int, float] = OrderedDict()
        self._delayed: dict[int, float] = {}
        self._timers: list[tuple[float, int]] = []
        self._due: OrderedDict[int, None] = OrderedDict()
        self._counts: dict[int, int] = {}

    @property
    def num_waiting(self) -> int:
        """Entries that were never handed out."""
        return len(self._waiting)

    @property
    def num_ack_pending(self) -> int:
        """Entries that were handed out and not settled."""
        return len(self._leased) + len(self._delayed) + len(self._due)

    @property
    def first_open(self) -> int | None:
        """The smallest sequence that is not settled."""
        places = (self._waiting, self._leased, self._delayed, self._due)
        return min((min(place) for place in places if place), default=None)

    def offer(self, sequence: int) -> None:
        """A new entry belongs to this consumer."""
        self._waiting[sequence] = None

    def take(self, now: float) -> tuple[int, int] | None:
        """Hand out the next entry: its sequence and how often it was handed out, this time
        included. What is due again goes first, and is not held up by `max_ack_pending`."""
        self.expire(now)
        if self._due:
            sequence, _ = self._due.popitem(last=False)
        elif self._waiting and self.num_ack_pending < self._max_ack_pending:
            sequence, _ = self._waiting.popitem(last=False)
        else:
            return None
        self._leased[sequence] = now + self._lease
        count = self._counts[sequence] = self._counts.get(sequence, 0) + 1
        return sequence, count

    def settle(self, sequence: int) -> None:
        """The entry is done, whoever holds it now."""
        if sequence in self._waiting:
            return
        self._unhold(sequence)
        self._due.pop(sequence, None)
        self._counts.pop(sequence, None)

    def forget(self, sequence: int) -> None:
        """The entry left the log."""
        self._waiting.pop(sequence, None)
        self.settle(sequence)

    def hand_back(self, sequence: int, now: float, delay: float) -> None:
        """The entry is to be handed out again after `delay`; nothing if it is settled."""
        if not self._is_pending(sequence):
            return
        if delay <= 0 and sequence in self._due:
            return
        self._unhold(sequence)
        self._due.pop(sequence, None)
        if delay <= 0:
            self._due[sequence] = None
            return
        self._delayed[sequence] = now + delay
        heapq.heappush(self._timers, (now + delay, sequence))
        if len(self._timers) > 2 * len(self._delayed) + 64:
            self._timers = [(at, delayed) for delayed, at in self._delayed.items()]
            heapq.heapify(self._timers)

    def renew(self, sequence: int, now: float) -> None:
        """The holder goes on: the lease starts again, unless it had ended already."""
        # Nobody may have looked since: leases end by time, not by somebody asking for work.
        self.expire(now)
        if sequence in self._leased or sequence in self._delayed:
            self._unhold(sequence)
            self._leased[sequence] = now + self._lease

    def expire(self, now: float) -> None:
        """Leases and delays that are over make their entries due again."""
        expired: list[int] = []
        while self._leased:
            sequence, until = next(iter(self._leased.items()))
            if until > now:
                break
            del self._leased[sequence]
            expired.append(sequence)
        while self._timers and self._timers[0][0] <= now:
            at, sequence = heapq.heappop(self._timers)
            # A timer whose entry was settled, renewed or delayed anew in the meantime is stale.
            if self._delayed.get(sequence) == at:
                del self._delayed[sequence]
                expired.append(sequence)
        for sequence in sorted(expired):
            self._due[sequence] = None

    def next_change(self) -> float | None:
        """When the next lease or delay ends, if nothing else happens."""
        times = [self._timers[0][0]] if self._timers else []
        if self._leased:
            times.append(next(iter(self._leased.values())))
        return min(times, default=None)

    def _is_pending(self, sequence: int) -> bool:
        return sequence in self._leased or sequence in self._delayed or sequence in self._due

    def _unhold(self, sequence: int) -> None:
        self._leased.pop(sequence, None)
        self._delayed.pop(sequence, None)
