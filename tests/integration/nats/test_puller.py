"""The pull loop: credits, settling, handing back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.puller import Puller
from penguiflow_nats.stream_message import StreamMessage, parse_ack_subject
from penguiflow_nats.stream_types import SECOND, ConsumerConfig, StreamConfig
from tests.support.eventually import eventually


@pytest.fixture
async def stream(jetstream: JetStream) -> JetStream:
    """A stream S over `s.>` with the durable consumer c."""
    await jetstream.create_stream(StreamConfig(name="S", subjects=["s.>"]))
    await jetstream.create_consumer("S", ConsumerConfig(durable_name="c", ack_wait=60 * SECOND))
    return jetstream


@pytest.fixture
def got() -> list[StreamMessage]:
    return []


@pytest.fixture
async def puller(
    connection: Connection, stream: JetStream, got: list[StreamMessage]
) -> AsyncIterator[Puller]:
    puller = Puller(connection, stream="S", consumer="c", deliver=got.append, window=16)
    puller.start()
    yield puller
    await puller.stop()


async def append(stream: JetStream, count: int, headers: dict[str, str] | None = None) -> None:
    await asyncio.gather(*(stream.append(f"s.{n}", b"%d" % n, headers) for n in range(count)))


async def pending(stream: JetStream) -> tuple[int, int]:
    info = await stream.consumer_info("S", "c")
    return info.num_ack_pending, info.num_pending


async def test_everything_is_delivered_once_and_settled(
    stream: JetStream, connection: Connection
) -> None:
    got: list[bytes] = []
    acks: set[asyncio.Future[object]] = set()

    def deliver(message: StreamMessage) -> None:
        got.append(message.data)
        ack = message.ack()
        acks.add(ack)
        ack.add_done_callback(lambda _: puller.release())

    puller = Puller(connection, stream="S", consumer="c", deliver=deliver, window=64)
    puller.start()
    await append(stream, 2_000)
    await eventually(lambda: len(got) == 2_000)
    await asyncio.gather(*acks)
    assert sorted(map(int, got)) == list(range(2_000))
    assert await pending(stream) == (0, 0)
    assert puller.in_hand == 0
    await puller.stop()


async def test_never_more_than_the_window_is_in_hand(
    puller: Puller, stream: JetStream, got: list[StreamMessage]
) -> None:
    await append(stream, 100)
    await eventually(lambda: len(got) == 16)
    await puller_is_idle(stream)
    assert (len(got), puller.in_hand, puller.asked) == (16, 16, 0)
    for settled in range(100):
        await eventually(lambda settled=settled: len(got) > settled)
        await got[settled].ack()
        puller.release()
        assert puller.in_hand + puller.asked <= 16
    assert await pending(stream) == (0, 0)


async def puller_is_idle(stream: JetStream) -> None:
    """Two round trips: whatever was asked for would have come."""
    for _ in range(2):
        await stream.connection.flush()


@pytest.mark.parametrize("window", [1, 2, 3, 5])
async def test_a_small_window_works_too(
    stream: JetStream, connection: Connection, window: int
) -> None:
    got: list[StreamMessage] = []

    def deliver(message: StreamMessage) -> None:
        got.append(message)
        assert puller.in_hand <= window
        message.ack().add_done_callback(lambda _: puller.release())

    puller = Puller(connection, stream="S", consumer="c", deliver=deliver, window=window)
    puller.start()
    await append(stream, 50)
    await eventually(lambda: len(got) == 50)
    await puller.stop()


@pytest.mark.parametrize("status", ["100", "404", "408", "409", "418", "503", "x"])
@pytest.mark.parametrize("data", [b"", b"data"])
async def test_a_status_header_does_not_hide_a_message(
    puller: Puller, stream: JetStream, got: list[StreamMessage], status: str, data: bytes
) -> None:
    headers = {"Status": status, "Description": "Consumer Deleted"}
    await stream.append("s.a", data, headers)
    await stream.append("s.b", b"next")
    await eventually(lambda: len(got) == 2)
    assert got[0].data == data
    assert got[0].headers == headers
    assert puller.statistics.renewed == 1


async def test_a_message_knows_its_place(
    puller: Puller, stream: JetStream, got: list[StreamMessage]
) -> None:
    await append(stream, 3)
    await eventually(lambda: len(got) == 3)
    message = got[1]
    assert (message.stream_sequence, message.consumer_sequence) == (2, 2)
    assert message.num_delivered == 1
    assert message.info.stream == "S"
    assert message.info.consumer == "c"
    stored = await stream.get_message("S", 2)
    assert stored is not None
    assert stored.subject == message.subject
    assert message.timestamp_ns > 1_600_000_000 * SECOND


async def test_nak_brings_it_again_now_or_later(
    puller: Puller, stream: JetStream, got: list[StreamMessage]
) -> None:
    await append(stream, 1)
    await eventually(lambda: len(got) == 1)
    got[0].nak()
    puller.release()
    await eventually(lambda: len(got) == 2)
    assert got[1].num_delivered == 2
    got[1].nak(delay=0.3)
    puller.release()
    await puller_is_idle(stream)
    assert len(got) == 2
    await eventually(lambda: len(got) == 3)
    assert got[2].num_delivered == 3


async def test_term_ends_it(puller: Puller, stream: JetStream, got: list[StreamMessage]) -> None:
    await append(stream, 2)
    await eventually(lambda: len(got) == 2)
    got[0].term()
    got[1].term("poison: it cannot be read")
    # The server settles in the background, also after it has read the verbs.
    while await pending(stream) != (0, 0):
        await asyncio.sleep(0.005)


async def test_in_progress_extends_the_lease(stream: JetStream, connection: Connection) -> None:
    await stream.create_consumer("S", ConsumerConfig(durable_name="d", ack_wait=SECOND // 2))
    got: list[StreamMessage] = []
    puller = Puller(connection, stream="S", consumer="d", deliver=got.append)
    puller.start()
    await append(stream, 1)
    await eventually(lambda: got)
    for _ in range(12):
        got[0].in_progress()
        await asyncio.sleep(0.1)
    assert len(got) == 1
    await eventually(lambda: len(got) == 2)
    await puller.stop()


async def test_stop_hands_back_what_still_arrives(
    puller: Puller, stream: JetStream, connection: Connection, got: list[StreamMessage]
) -> None:
    await stream.connection.flush()
    # Both in one turn: the server still sends while the stop is on its way.
    futures = [stream.append(f"s.{n}", b"%d" % n) for n in range(16)]
    stopping = asyncio.create_task(puller.stop())
    await asyncio.gather(*futures)
    await stopping
    for message in got:
        message.nak()
    other: list[StreamMessage] = []
    second = Puller(connection, stream="S", consumer="c", deliver=other.append, window=32)
    second.start()
    await eventually(lambda: len(other) == 16)
    await second.stop()
    assert puller.statistics.delivered == len(got)


async def test_after_stop_nothing_is_asked(
    puller: Puller, stream: JetStream, got: list[StreamMessage]
) -> None:
    await puller.stop()
    await append(stream, 3)
    await puller_is_idle(stream)
    assert got == []
    assert (await stream.consumer_info("S", "c")).num_waiting == 0
    puller.start()
    await puller.stop()


async def test_pause_takes_back_what_was_asked_and_resume_goes_on(
    puller: Puller, stream: JetStream, got: list[StreamMessage]
) -> None:
    await stream.connection.flush()
    puller.pause()
    await stream.connection.flush()
    await append(stream, 3)
    await puller_is_idle(stream)
    assert got == []
    puller.resume()
    await eventually(lambda: len(got) == 3)


async def test_a_deliver_that_raises_gives_the_message_back_and_keeps_its_credit(
    stream: JetStream, connection: Connection
) -> None:
    seen: list[int] = []

    def deliver(message: StreamMessage) -> None:
        seen.append(message.num_delivered)
        raise ZeroDivisionError

    puller = Puller(connection, stream="S", consumer="c", deliver=deliver, window=1)
    puller.start()
    await append(stream, 1)
    await eventually(lambda: len(seen) == 2)
    assert seen == [1, 2]
    assert puller.in_hand == 0
    await puller.stop()


async def test_short_pulls_are_renewed_when_they_expire(
    stream: JetStream, connection: Connection
) -> None:
    got: list[StreamMessage] = []
    puller = Puller(
        connection,
        stream="S",
        consumer="c",
        deliver=got.append,
        window=8,
        heartbeat=0.2,
        expires=0.5,
    )
    puller.start()
    await eventually(lambda: puller.statistics.pulls >= 4)
    assert puller.asked <= 8
    await append(stream, 8)
    await eventually(lambda: len(got) == 8)
    assert puller.statistics.renewed == 1
    await puller.stop()


async def test_two_pullers_share_a_consumer(stream: JetStream, connection: Connection) -> None:
    got: list[list[bytes]] = [[], []]
    pullers: list[Puller] = []

    def deliver(which: int, message: StreamMessage) -> None:
        got[which].append(message.data)
        message.ack().add_done_callback(lambda _: pullers[which].release())

    for which in range(2):
        pullers.append(
            Puller(
                connection,
                stream="S",
                consumer="c",
                deliver=lambda message, which=which: deliver(which, message),  # type: ignore[misc]
                window=8,
            )
        )
        pullers[which].start()
    await append(stream, 400)
    await eventually(lambda: sum(map(len, got)) == 400)
    assert sorted(int(data) for each in got for data in each) == list(range(400))
    assert all(got)
    for puller in pullers:
        await puller.stop()


@pytest.mark.parametrize("arguments", [{"window": 0}, {"heartbeat": 0}, {"expires": 0.9}])
async def test_impossible_settings_are_refused(
    connection: Connection, arguments: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match="window"):
        Puller(connection, stream="S", consumer="c", deliver=print, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.ACK.S.c.2.10.5.1700000000000000000.3",
        "$JS.ACK.hub.ABCDEF.S.c.2.10.5.1700000000000000000.3",
        "$JS.ACK._.ABCDEF.S.c.2.10.5.1700000000000000000.3.x7Yz",
        "JS.acme.ACK.S.c.2.10.5.1700000000000000000.3",
    ],
)
def test_every_form_of_the_ack_subject_is_read(subject: str) -> None:
    info = parse_ack_subject(subject)
    assert info == ("S", "c", 2, 10, 5, 1_700_000_000_000_000_000, 3)


@pytest.mark.parametrize("subject", ["", "$JS.ACK.S.c", "a.b.c.d.e.f.g.h.i"])
def test_anything_else_is_not_an_ack_subject(subject: str) -> None:
    with pytest.raises(ValueError, match="ack subject"):
        parse_ack_subject(subject)
