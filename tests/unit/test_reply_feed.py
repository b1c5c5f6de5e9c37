"""The order of an answer, whatever order its messages are heard in."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from penguiflow.durable.envelope import NONE, Output
from penguiflow_nats.call_questions import Question, Reply, packed
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import (
    ANSWER,
    ASK,
    COMPLETED,
    CONTINUED,
    END,
    INPUT_REQUIRED,
    START,
    Piece,
    ReplyEvents,
    TaskRecord,
    encode,
)
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.reply_feed import Answered, Asked, Events, ReplyFeed, Started
from penguiflow_nats.task_pieces import Pieces


class Line:
    """A connection to a server with one task, which stores what happens; while `deaf`, nobody
    hears of it."""

    def __init__(self) -> None:
        self.callback: Any = None
        self.ended = 0
        self.deaf = False
        self.stored: list[tuple[str, bytes]] = []

    async def request_many(self, subject: str, body: bytes, *, receive: Any) -> None:
        start = json.loads(body)["seq"]
        for sequence, (rest, data) in enumerate(self.stored, 1):
            if sequence >= start:
                head = {
                    "Nats-Sequence": str(sequence),
                    "Nats-Subject": f"pf.v1.default.reply.t.{rest}",
                    "Nats-Time-Stamp": "2025-01-01T00:00:00Z",
                }
                assert not receive(Incoming("inbox", "", data, head))
        assert receive(Incoming("inbox", "", b"", {"Status": "204", "Description": "EOB"}))

    def store(self, rest: str, data: bytes) -> None:
        self.stored.append((rest, data))
        if not self.deaf:
            head = {"Nats-Sequence": str(len(self.stored))}
            self.callback(Incoming(f"pf.v1.default.news.t.{rest}", "", data, head))

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
        self.store(str(epoch), data)

    def start(self, epoch: int, state: str = "") -> None:
        self.store("state", encode(TaskRecord(kind=START, epoch=epoch, state=state)))

    def asks(self, epoch: int, number: int, events: int, kind: str = ASK) -> None:
        value = Question(number) if kind == ASK else Reply(number, Output(NONE, ()))
        record = TaskRecord(
            kind=kind, epoch=epoch, state=INPUT_REQUIRED, events=events, result=packed(value)
        )
        self.store("state", encode(record))

    def answers(self, epoch: int, number: int) -> None:
        self.asks(epoch, number, 0, ANSWER)

    def end_of(self, epoch: int, events: int) -> None:
        record = TaskRecord(kind=END, epoch=epoch, state=COMPLETED, events=events)
        self.store("state", encode(record))


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
        if isinstance(news, Events):
            found.extend(piece.text for piece in news.pieces)
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


# ---- continued answers ---------------------------------------------------------------------------


async def test_an_epoch_that_continues_goes_on_with_the_numbers(line: Line) -> None:
    feed = feed_of(line)
    line.start(1)
    line.events(1, 0, "a", "b")
    line.start(2, CONTINUED)
    line.events(2, 2, "c")
    line.start(3, CONTINUED)
    line.events(3, 3, "d")
    line.end_of(3, 4)
    assert await heard(feed) == ["a", "b", "c", "d", "end"]


async def test_what_a_replaced_replica_stores_behind_a_continued_start_is_void(line: Line) -> None:
    feed = feed_of(line)
    line.events(1, 0, "a")
    line.start(2, CONTINUED)
    line.events(1, 1, "void")
    line.events(2, 1, "b")
    line.events(1, 2, "void")
    line.end_of(2, 2)
    assert await heard(feed) == ["a", "b", "end"]


async def test_a_continued_start_that_was_not_heard_is_read(line: Line) -> None:
    feed = feed_of(line)
    line.events(1, 0, "a")
    line.deaf = True
    line.events(1, 1, "b")
    line.start(2, CONTINUED)
    line.deaf = False
    line.events(2, 2, "c")
    line.end_of(2, 3)
    assert await heard(feed) == ["a", "b", "c", "end"]


async def test_whoever_took_a_void_event_is_told_to_begin_again(line: Line) -> None:
    feed = feed_of(line)
    line.events(1, 0, "a")
    line.deaf = True
    line.start(2, CONTINUED)
    line.deaf = False
    line.events(1, 1, "void")
    line.events(2, 1, "b")
    line.end_of(2, 2)
    assert await heard(feed) == ["a", "void", "again", "a", "b", "end"]


async def test_a_position_in_a_continued_answer_goes_on_behind_it(line: Line) -> None:
    line.deaf = True
    feed = feed_of(line, epoch=1, number=1)
    line.events(1, 0, "a", "b")
    line.start(2, CONTINUED)
    line.events(2, 2, "c")
    line.end_of(2, 3)
    feed.catch_up()
    assert await heard(feed) == ["b", "c", "end"]


@pytest.mark.parametrize("seed", range(60))
async def test_every_caller_agrees_with_the_stream_whatever_it_hears(line: Line, seed: int) -> None:
    """Replicas continue or begin anew, replaced ones go on, and half of it is not heard."""
    dice = random.Random(seed)
    feed = feed_of(line)
    replicas: list[list[int]] = []  # epoch, next number
    number = given = 0
    found: list[Any] = []

    async def listen() -> None:
        while (news := await feed.next(0.001)) is not None:
            if isinstance(news, Started) and news.again:
                found.clear()
            elif isinstance(news, Events):
                found.extend(piece.text for piece in news.pieces)
            elif isinstance(news, TaskRecord):
                return

    for epoch in range(1, dice.randint(2, 5)):
        anew = epoch == 1 or dice.random() < 0.3
        line.deaf = dice.random() < 0.3
        line.start(epoch, "" if anew else CONTINUED)
        number = 0 if anew else number
        replicas.append([epoch, number])
        for _ in range(dice.randint(0, 6)):
            line.deaf = dice.random() < 0.3
            replica = dice.choice(replicas) if dice.random() < 0.3 else replicas[-1]
            texts = [f"{replica[0]}:{given + each}" for each in range(dice.randint(1, 3))]
            given += len(texts)
            line.events(replica[0], replica[1], *texts)
            replica[1] += len(texts)
            number = replicas[-1][1]
            if dice.random() < 0.5:
                await listen()
    line.end_of(replicas[-1][0], number)
    feed.catch_up()
    await listen()
    pieces = Pieces()
    for rest, data in line.stored:
        pieces.take(f"pf.v1.default.reply.t.{rest}", data)
    assert pieces.is_whole
    assert found == [piece.text for piece in pieces.found]
    assert len(found) == number
