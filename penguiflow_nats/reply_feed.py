"""The answer of one task: heard live, read from the stream where that is not enough.

What is heard was stored before, and the stream is the truth: after a reconnect, when the reader
was slow, or when a number is missing, the feed reads on from the stream. So it gives each event
once and in order, or an error; never a gap.

An event counts when it is of the newest epoch, or when every start after its epoch says that the
answer is continued and was stored after it.
"""

from __future__ import annotations

import asyncio
from collections import deque

from penguiflow_nats.call_errors import ReplyGap
from penguiflow_nats.call_questions import question_of, reply_of
from penguiflow_nats.call_subjects import STATE, CallNames
from penguiflow_nats.call_wire import (
    ANSWER,
    ASK,
    CONTINUED,
    EVERYTHING,
    START,
    ReplyEvents,
    TaskRecord,
    read_events,
    read_record,
)
from penguiflow_nats.connection import Connection
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.jetstream import timestamp_ns
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_news import Answered, Asked, Events, News, Started
from penguiflow_nats.reply_pages import read_page
from penguiflow_nats.subscription import Subscription

_HEARD = 1024
"""Messages that wait for their reader; what comes beyond is read from the stream later."""
_LIMIT = 30.0
"""Seconds for which the server may be away."""
_SETTLE = 0.05
"""Seconds to wait for a number that is stored after a later one."""
_RESEND = 1.0
"""Seconds to wait for a number that is not stored at all: its replica sends it again."""
_FULL_READS = 3
"""Times that an ended answer is read from its beginning before a gap is called one."""


class ReplyFeed:
    """Follows one task from (epoch, number of the next event) on."""

    def __init__(
        self,
        connection: Connection,
        names: CallNames,
        task: str,
        *,
        epoch: int = 0,
        number: int = 0,
        all_questions: bool = False,
    ) -> None:
        self._all_questions = all_questions
        """Whether to give questions that were answered meanwhile, too."""
        self.epoch = epoch
        self.number = number
        """The event that comes next in this epoch."""
        self._connection = connection
        self._names = names
        self._task = task
        self._stash: dict[int, tuple[ReplyEvents, Incoming | int]] = {}
        self._ready: deque[News] = deque()
        self._heard: deque[Incoming] = deque()
        self._last: Incoming | None = None
        self._cursor = 0
        """Everything up to this sequence has been read."""
        self._behind = False
        self._full_reads = 0
        self._starts: dict[int, int] = {}
        """By epoch, the sequence of its start; 0 when it voids what came before."""
        self._newest: dict[bool, Incoming | int] = {}
        """The last message whose events were given: of those that were heard, of those read."""
        self._named = 0
        """The newest epoch that was heard of, without its start."""
        self._end: TaskRecord | None = None
        self._asked: TaskRecord | None = None
        """A question that was not given yet."""
        self._said = (0, -1, True)
        """Epoch and number of the newest question, and whether it was answered."""
        self.record: TaskRecord | None = None
        """The newest record that was read."""
        self.record_at = 0.0
        """When it was stored, by the server's clock; 0 when not known."""
        self._at = 0.0
        """When the message was stored that is being taken."""
        self._asked_at = 0.0
        self._signal = asyncio.Event()
        self._subscription: Subscription | None = None
        self._unregister = connection.on_reconnect(self.catch_up)

    def open(self) -> None:
        """Begin to hear."""
        self._subscription = self._connection.subscribe(
            self._names.heard(self._task), self._receive
        )

    def close(self) -> None:
        """Hear no more."""
        self._unregister()
        if self._subscription is not None:
            self._subscription.unsubscribe()
            self._subscription = None

    def catch_up(self) -> None:
        """Something may have been missed: read on from the stream."""
        self._behind = True
        self._signal.set()

    def _receive(self, message: Incoming) -> None:
        if len(self._heard) >= _HEARD:
            self._behind = True
            return
        self._heard.append(message)
        self._signal.set()

    def seek(self, epoch: int, number: int) -> None:
        """Give only what comes after. Before the first `next`."""
        self.epoch, self.number = epoch, number

    async def skip_to_now(self) -> None:
        """Pass over what was stored until now. Raises as `next`."""
        self._behind = True
        while self._behind or (self._end is not None and not self._complete(self._end)):
            await self._read()
            self._ready.clear()
        self._asked = None

    async def until_now(self, *, sequence: int = 0) -> list[News]:
        """What was stored until now, at least up to a sequence; a question that is open and the
        end come last. Raises as `next`."""
        self._behind, found = True, list[News]()
        while self._behind or self._cursor < sequence or self._is_incomplete():
            await self._read()
            found += self._ready
            self._ready.clear()
        if self._asked is not None:
            asked, self._asked = self._asked, None
            found.append(Asked(asked, self._asked_at))
        if self._end is not None:
            found.append(self._end)
        return found

    def _is_incomplete(self) -> bool:
        """Whether events are missing that came before a question or the end."""
        return any(each and not self._complete(each) for each in (self._end, self._asked))

    def at_hand(self) -> News | None:
        """What comes next, if it is there already."""
        return self._ready.popleft() if self._ready else None

    async def next(self, timeout: float) -> News | None:
        """What comes next: a start, an event, or the end; None when nothing came in time.

        Raises:
            ReplyGap: the task is over and events are missing.
            NatsError: the server is away for too long.
            WireError: what was written cannot be read.
        """
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._heard and self._named <= self.epoch:
                self._take_heard()
            elif self._end is not None and self._complete(self._end):
                return self._end
            elif self._behind or self._end is not None:
                await self._read()
            elif self._asked is not None and self._complete(self._asked):
                asked, self._asked = self._asked, None
                return Asked(asked, self._asked_at)
            elif self._stash or self._asked is not None:
                # Its number comes before what was stored first; or it was lost on the way.
                if not await self._wait(_SETTLE):
                    self._behind = True
            elif not await self._wait(timeout):
                return None

    async def _wait(self, timeout: float) -> bool:
        if self._heard or self._behind:
            return True
        self._signal.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._signal.wait()
        except TimeoutError:
            return False
        return True

    # Taking

    def _take_heard(self) -> None:
        while self._heard and not self._ready:
            message = self._heard.popleft()
            self._at = _told_at(message)
            if not self._take(message.subject, message.data, message):
                # A start was not heard, and what was taken behind it does not tell where it lies.
                self._heard.clear()
                self._read_from_the_beginning()
            elif not self._stash:
                self._last = message

    def _take(self, subject: str, data: bytes, source: Incoming | int) -> bool:
        """Take a message; False when it must be read in the order of the stream instead."""
        if subject.endswith(f".{STATE}"):
            record = read_record(data)
            if record.kind == START and self._is_next(record, source):
                self._start(record, source)
            elif not self._follows(record.epoch, source):
                return False
            self._take_record(record)
            return True
        events = read_events(data)
        if not self._follows(events.epoch, source):
            return False
        self._take_events(events, source)
        return True

    def _follows(self, epoch: int, source: Incoming | int) -> bool:
        """Begin an epoch that is named before its start was given. False when it is not the first
        one and was only heard: its start may say that what came before stays."""
        if epoch > max(self.epoch, 1) and not isinstance(source, int):
            self._named = max(epoch, self._named)
            return False
        self._begin(epoch)
        return True

    def _take_record(self, record: TaskRecord) -> None:
        if record.is_end:
            self._give_question()
            self._end, self._asked = record, None
        elif record.epoch < self.epoch:
            return  # read again: it is void
        elif record.kind in (ASK, ANSWER):
            answered = record.kind == ANSWER
            number = (reply_of if answered else question_of)(record).number
            if (record.epoch, number, answered) <= self._said:
                return  # it was read before
            self._said = (record.epoch, number, answered)
            if answered:
                self._give_question()
                self._ready.append(Answered(record, self._at))
            self._asked, self._asked_at = (None if answered else record), self._at
        elif self._said[0] >= record.epoch:
            return
        self.record, self.record_at = record, self._at

    def _give_question(self) -> None:
        """Give a question whose answer is at hand; most followers need not know of it."""
        if self._asked is not None and self._all_questions:
            self._ready.append(Asked(self._asked, self._asked_at))
            self._asked = None

    def _take_events(self, events: ReplyEvents, source: Incoming | int) -> None:
        if events.epoch < self.epoch:
            known = events.n + len(events.pieces) <= self.number
            if known or events.n > self.number or not self._stays(events.epoch, source):
                return
        elif events.n > self.number:
            self._stash[events.n] = events, source
            return
        self._give(events, source)
        while self._stash and min(self._stash) <= self.number:
            self._give(*self._stash.pop(min(self._stash)))

    def _give(self, events: ReplyEvents, source: Incoming | int) -> None:
        """Give what is new of events that begin at or before the next number."""
        known = self.number - events.n
        pieces = events.pieces[known:] if known else events.pieces
        if pieces:
            self._ready.append(Events(events.epoch, self.number, pieces))
            self.number += len(pieces)
            self._newest[isinstance(source, int)] = source

    def _stays(self, epoch: int, source: Incoming | int) -> bool:
        """Whether an event of an earlier epoch counts."""
        sequence, later = _sequence(source), range(epoch + 1, self.epoch + 1)
        return all(sequence < self._starts.get(each, 0) for each in later)

    def _is_next(self, record: TaskRecord, source: Incoming | int) -> bool:
        """Whether nothing is between what is known and a start. What is read has all starts."""
        if record.state != CONTINUED or isinstance(source, int):
            return True
        return self.epoch == 0 or record.epoch <= self.epoch + 1

    def _start(self, record: TaskRecord, source: Incoming | int) -> None:
        sequence = _sequence(source) if record.state == CONTINUED else 0
        self._starts.setdefault(record.epoch, sequence)
        if record.epoch <= self.epoch:
            return
        furthest = max(map(_sequence, self._newest.values()), default=0) if sequence else 0
        if self.epoch > 0 and furthest < sequence:
            self._give_question()
            self.epoch = record.epoch
            self._asked = None
            self._stash.clear()
            self._ready.append(Started(record.epoch, again=False, at=self._at))
            return
        self._begin(record.epoch)
        if sequence:  # what was given so far is not what stays
            self._read_from_the_beginning()

    def _read_from_the_beginning(self) -> None:
        self._cursor, self._last = 0, None
        self._behind = True

    def _begin(self, epoch: int) -> None:
        if epoch <= self.epoch:
            return
        self._give_question()
        again, self.epoch = self.epoch > 0, epoch
        self.number = 0
        self._newest.clear()
        self._asked = None
        self._stash.clear()
        self._ready.append(Started(epoch, again, self._at))

    def _complete(self, end: TaskRecord) -> bool:
        """Whether every event that counts was given."""
        return end.events == EVERYTHING or self.number >= end.events

    def _lacks_something(self) -> bool:
        asked = self._asked
        return (
            bool(self._stash)
            or self._named > self.epoch
            or self._end is not None
            or (asked is not None and not self._complete(asked))
        )

    # Reading

    async def _read(self) -> None:
        """Read the next page of the stream."""
        self._behind = False
        self._advance_cursor()
        stream, subject = self._names.replies_stream, self._names.answers(self._task)
        try:
            page = await persist(
                self._connection,
                lambda: read_page(self._connection, stream, subject, start=self._cursor + 1),
                limit=_LIMIT,
            )
        except BaseException:
            self._behind = True
            raise
        for entry in page.entries:
            self._at = entry.stored_at
            self._take(entry.subject, entry.data, entry.sequence)
            self._cursor = entry.sequence
        self._behind = self._behind or page.more
        if not page.more and not self._ready and self._lacks_something():
            await self._read_all_again()

    def _advance_cursor(self) -> None:
        """What was heard without a gap need not be read."""
        if self._last is not None and not self._stash:
            self._cursor = max(self._cursor, _sequence(self._last))
        self._last = None

    async def _read_all_again(self) -> None:
        """A number is missing though the stream was read: from the beginning, a few times."""
        end = self._end
        if end is not None and self._complete(end):
            return
        if end is not None and self._full_reads >= _FULL_READS:
            raise ReplyGap(self._task, self.number, end.events)
        self._cursor = 0
        if end is not None:
            self._full_reads += 1
            await asyncio.sleep(_SETTLE)
        else:
            await self._wait(_RESEND)
        self._behind = True


def _sequence(source: Incoming | int) -> int:
    """Where a message lies in the stream: what is heard says so in its headers."""
    if isinstance(source, int):
        return source
    return int((source.headers or {}).get("Nats-Sequence", 0))


def _told_at(message: Incoming) -> float:
    """When a message was stored that is heard, by the server's clock."""
    stamp = (message.headers or {}).get("Nats-Time-Stamp")
    return timestamp_ns(stamp) / 1e9 if stamp else 0.0


__all__ = ["Answered", "Asked", "Events", "News", "ReplyFeed", "Started"]
