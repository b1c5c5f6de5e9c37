"""The order of an answer, whatever order its messages are heard in."""

from __future__ import annotations

from typing import Any

import pytest

from penguiflow.durable.envelope import NONE, Output
from penguiflow_nats.call_questions import Question, Reply, packed
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import (
    ANSWER,
    ASK,
    COMPLETED,
    END,
    INPUT_REQUIRED,
    START,
    Piece,
    ReplyEvents,
    TaskRecord,
    encode,
)
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.reply_feed import Answered, Asked, Event, ReplyFeed, Started

STATE = "pf.v1.default.news.t.state"


class Line:
    """A connection that only hears."""

    def __init__(self) -> None:
        self.callback: Any = None
        self.ended = 0

    def on_reconnect(self, listener: Any) -> Any:
        return self.end

    def end(self) -> None:
        self.ended += 1

    def subscribe(self, subject: str, callback: Any) -> Line:
        assert subject == "pf.v1.default.news.t.*"
        self.callback = callback
        return self

    unsubscribe = end

    def events(self, epoch: int, n: int, *texts: str) -> None:
        data = encode(ReplyEvents(1, epoch, n, [Piece(text) for text in texts]))
        self.callback(Incoming(f"pf.v1.default.news.t.{epoch}", "", data, None))

    def start(self, epoch: int) -> None:
        data = encode(TaskRecord(kind=START, epoch=epoch))
        self.callback(Incoming(STATE, "", data, None))

    def asks(self, epoch: int, number: int, events: int, kind: str = ASK) -> None:
        value = Question(number) if kind == ASK else Reply(number, Output(NONE, ()))
        record = TaskRecord(
            kind=kind, epoch=epoch, state=INPUT_REQUIRED, events=events, result=packed(value)
        )
        self.callback(Incoming(STATE, "", encode(record), None))

    def answers(self, epoch: int, number: int) -> None:
        self.asks(epoch, number, 0, ANSWER)

    def end_of(self, epoch: int, events: int) -> None:
        record = TaskRecord(kind=END, epoch=epoch, state=COMPLETED, events=events)
        self.callback(Incoming(STATE, "", encode(record), None))


@pytest.fixture
def line() -> Line:
    return Line()


def feed_of(line: Line, **start: int) -> ReplyFeed:
    feed = ReplyFeed(line, CallNames("default"), "t", **start)  # type: ignore[arg-type]
    feed.open()
    return feed


async def heard(feed: ReplyFeed) -> list[Any]:
    """What the feed gives now: texts, `again` for a restart, `end`."""
    found: list[Any] = []
    while (news := await feed.next(0.01)) is not None:
        if isinstance(news, Event):
            found.append(news.piece.text)
        elif isinstance(news, Started):
            found.extend(["again"] * news.again)
        elif isinstance(news, Asked | Answered):
            found.append("asked" if isinstance(news, Asked) else "answered")
        else:
            return [*found, "end"]
    return found


async def test_gives_events_in_order_and_then_the_end(line: Line) -> None:
    feed = feed_of(line)
    line.start(1)
    line.events(1, 0, "a", "b")
    line.events(1, 2, "c")
    line.end_of(1, 3)
    assert await heard(feed) == ["a", "b", "c", "end"]


async def test_sorts_what_was_stored_in_another_order(line: Line) -> None:
    feed = feed_of(line)
    line.events(1, 0, "a")
    line.events(1, 3, "d")
    line.events(1, 2, "c")
    line.events(1, 1, "b")
    line.end_of(1, 4)
    assert await heard(feed) == ["a", "b", "c", "d", "end"]


async def test_gives_what_was_stored_twice_once(line: Line) -> None:
    feed = feed_of(line)
    for _ in range(2):
        line.events(1, 0, "a", "b")
    line.events(1, 1, "b", "c")  # overlaps
    line.end_of(1, 3)
    assert await heard(feed) == ["a", "b", "c", "end"]


async def test_a_later_epoch_voids_the_earlier_one(line: Line) -> None:
    feed = feed_of(line)
    line.events(1, 0, "a", "b")
    line.start(2)
    line.events(1, 2, "zombie")
    line.events(2, 0, "x")
    line.events(1, 3, "zombie")
    line.end_of(2, 1)
    assert await heard(feed) == ["a", "b", "again", "x", "end"]


async def test_events_may_be_heard_before_their_start(line: Line) -> None:
    feed = feed_of(line)
    line.events(1, 0, "a")
    line.events(2, 0, "x")
    line.start(2)
    line.end_of(2, 1)
    assert await heard(feed) == ["a", "again", "x", "end"]


async def test_a_first_epoch_is_no_restart_whatever_its_number(line: Line) -> None:
    feed = feed_of(line)
    line.start(4)
    line.events(4, 0, "x")
    assert await heard(feed) == ["x"]


async def test_goes_on_from_a_position(line: Line) -> None:
    feed = feed_of(line, epoch=1, number=2)
    line.start(1)
    line.events(1, 0, "a", "b", "c")
    line.end_of(1, 3)
    assert await heard(feed) == ["c", "end"]


async def test_a_position_in_an_epoch_that_is_void_begins_again(line: Line) -> None:
    feed = feed_of(line, epoch=1, number=2)
    line.start(2)
    line.events(2, 0, "x")
    assert await heard(feed) == ["again", "x"]


async def test_keeps_no_more_than_its_share(line: Line) -> None:
    feed = feed_of(line)
    for n in range(3000):
        line.events(1, n, "a")
    assert len(feed._heard) == 1024


async def test_closing_ends_what_it_holds(line: Line) -> None:
    feed = feed_of(line)
    feed.close()
    assert line.ended == 2


# ---- questions -----------------------------------------------------------------------------------


async def test_a_question_comes_behind_the_events_before_it(line: Line) -> None:
    feed = feed_of(line)
    line.start(1)
    line.events(1, 1, "b")
    line.asks(1, 0, 2)
    line.events(1, 0, "a")
    assert await heard(feed) == ["a", "b", "asked"]
    line.answers(1, 0)
    line.events(1, 2, "c")
    line.asks(1, 1, 3)
    assert await heard(feed) == ["answered", "c", "asked"]


async def test_questions_and_answers_that_are_heard_again_are_not_given_again(line: Line) -> None:
    feed = feed_of(line)
    for _ in range(2):
        line.start(1)
        line.asks(1, 0, 0)
        line.answers(1, 0)
        line.asks(1, 1, 0)
    assert await heard(feed) == ["answered", "asked"]
    line.answers(1, 0)
    line.asks(1, 1, 0)
    assert await heard(feed) == []


async def test_a_question_of_a_dead_replica_is_void_until_it_is_asked_again(line: Line) -> None:
    feed = feed_of(line)
    line.start(1)
    line.asks(1, 0, 0)
    line.start(2)
    assert await heard(feed) == ["again"]
    line.asks(1, 0, 0)
    assert await heard(feed) == []
    line.asks(2, 0, 0)
    assert await heard(feed) == ["asked"]


async def test_a_question_that_nobody_answered_ends_with_the_task(line: Line) -> None:
    feed = feed_of(line, epoch=1, number=0)
    line.asks(1, 0, 0)
    line.end_of(1, 0)
    assert await heard(feed) == ["end"]
