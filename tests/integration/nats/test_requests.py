"""Requests: every answer finds its question, and no question waits for ever."""

import asyncio

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import (
    ConnectionClosed,
    InvalidHeader,
    InvalidSubject,
    NoResponders,
    NotConnected,
    OutcomeUnknown,
    PayloadTooLarge,
)
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from tests.support.eventually import eventually


def answer(connection: Connection, subject: str = "ask") -> None:
    """Answer requests with what they said."""

    def callback(message: Incoming) -> None:
        connection.publish(message.reply, message.data, message.headers)

    connection.subscribe(subject, callback)


async def test_an_answer_carries_data_and_headers(connection: Connection) -> None:
    answer(connection)
    reply = await connection.request("ask", b"x", {"Name": "wärme", "Other": ""})
    assert (reply.data, reply.headers) == (b"x", {"Name": "wärme", "Other": ""})
    assert reply.status == 0
    assert (await connection.request("ask")).headers is None


async def test_ten_thousand_requests_in_flight_are_all_answered(connection: Connection) -> None:
    answer(connection)
    futures = [connection.request("ask", b"%d" % n) for n in range(10_000)]
    replies = await asyncio.gather(*futures)
    assert [int(reply.data) for reply in replies] == list(range(10_000))
    assert connection.statistics.waiting == 0


async def test_nobody_there_is_said_at_once(connection: Connection) -> None:
    with pytest.raises(NoResponders) as caught:
        await connection.request("nobody.here", timeout=60)
    assert caught.value.subject == "nobody.here"


@pytest.mark.parametrize("timeout", [0.2, 0.35])
async def test_no_answer_in_time_is_an_unknown_outcome(
    connection: Connection, timeout: float
) -> None:
    connection.subscribe("deaf", lambda message: None)
    with pytest.raises(OutcomeUnknown) as caught:
        await connection.request("deaf", timeout=timeout)
    assert caught.value.subject == "deaf"
    assert connection.statistics.waiting == 0
    assert connection.statistics.timeouts == 1


async def test_the_default_timeout_holds_and_a_late_answer_is_dropped(
    server: EmbeddedServer, settings: ConnectionSettings
) -> None:
    slow = ConnectionSettings(servers=settings.servers, path=settings.path, request_timeout=0.2)
    async with await Connection.open(slow) as connection:
        asked: list[Incoming] = []
        connection.subscribe("late", asked.append)
        with pytest.raises(OutcomeUnknown):
            await connection.request("late")
        connection.publish(asked[0].reply, b"too late")
        answer(connection)
        assert (await connection.request("ask", b"x")).data == b"x"


async def test_a_cancelled_request_disturbs_nobody(connection: Connection) -> None:
    answer(connection)
    cancelled = connection.request("ask", b"1")
    cancelled.cancel()
    assert (await connection.request("ask", b"2")).data == b"2"
    assert connection.statistics.waiting == 0


async def test_what_a_decoder_raises_fails_its_request_only(connection: Connection) -> None:
    answer(connection)
    with pytest.raises(ZeroDivisionError):
        await connection.request("ask", decode=lambda reply: 1 // 0)
    assert await connection.request("ask", b"7", decode=lambda reply: int(reply.data)) == 7


async def test_several_answers_end_with_the_last(connection: Connection) -> None:
    def callback(message: Incoming) -> None:
        for n in range(3):
            connection.publish(message.reply, b"%d" % n)

    connection.subscribe("count", callback)
    heard: list[bytes] = []

    def receive(reply: Incoming) -> bool:
        heard.append(reply.data)
        return reply.data == b"2"

    await connection.request_many("count", receive=receive)
    assert heard == [b"0", b"1", b"2"]
    with pytest.raises(OutcomeUnknown):
        await connection.request_many("count", receive=lambda reply: False, timeout=0.2)
    with pytest.raises(NoResponders):
        await connection.request_many("nobody", receive=lambda reply: False)


async def test_an_oversized_message_is_refused_here_and_the_connection_stays(
    connection: Connection,
) -> None:
    answer(connection)
    client = connection.client
    assert client is not None
    limit = client.max_payload
    with pytest.raises(PayloadTooLarge) as caught:
        connection.request("ask", b"x" * limit)
    assert caught.value.max_payload == limit
    with pytest.raises(PayloadTooLarge):
        connection.publish("ask", b"x" * (limit - 100), {"Much": "y" * 200})
    largest = b"x" * (limit - 200)
    assert (await connection.request("ask", largest)).data == largest
    assert connection.client is client


@pytest.mark.parametrize(
    "subject", ["", "a b", "a\tb", "a\r\nPUB x 0\r\n", "a\x00b", "x" * 5_000, "a\u2028b"]
)
async def test_a_subject_that_breaks_the_line_is_refused_here(
    connection: Connection, subject: str
) -> None:
    client = connection.client
    with pytest.raises(InvalidSubject):
        connection.request(subject)
    with pytest.raises(InvalidSubject):
        connection.publish("fine", reply=subject or " ")
    await connection.flush()
    assert connection.client is client


@pytest.mark.parametrize(
    "headers", [{"A": "x\r\nB: y"}, {"A": "x\ny"}, {"": "x"}, {"A B": "x"}, {"A:": "x"}, {"Ä": "x"}]
)
async def test_a_header_that_breaks_the_block_is_refused_here(
    connection: Connection, headers: dict[str, str]
) -> None:
    with pytest.raises(InvalidHeader):
        connection.publish("fine", b"", headers)
    assert connection.statistics.waiting == 0


async def test_a_killed_server_fails_what_waits_at_once(
    connection: Connection, server: EmbeddedServer
) -> None:
    connection.subscribe("deaf", lambda message: None)
    waiting = [connection.request("deaf", timeout=600) for _ in range(100)]
    await connection.flush()
    await server.kill()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in done} == {OutcomeUnknown}
    with pytest.raises(NotConnected):
        await connection.request("deaf")
    with pytest.raises(NotConnected):
        connection.publish("deaf")
    with pytest.raises(NotConnected):
        await connection.flush()


async def test_requests_are_answered_again_after_kill_and_restart(
    connection: Connection, server: EmbeddedServer
) -> None:
    answer(connection)
    await connection.request("ask")
    await server.kill()
    await server.start()
    await eventually(lambda: connection.is_connected and connection.statistics.reconnects == 1)
    assert (await connection.request("ask", b"again")).data == b"again"


async def test_closing_fails_what_waits_and_refuses_more(connection: Connection) -> None:
    connection.subscribe("deaf", lambda message: None)
    waiting = connection.request("deaf", timeout=600)
    await connection.close()
    with pytest.raises(OutcomeUnknown):
        await waiting
    for call in (connection.request, connection.publish):
        with pytest.raises(ConnectionClosed):
            call("ask")
    with pytest.raises(ConnectionClosed):
        await connection.writable()
    assert connection.is_closed
    await connection.close()


async def test_what_was_published_before_closing_arrives(
    connection: Connection, settings: ConnectionSettings
) -> None:
    heard: list[Incoming] = []
    connection.subscribe("news", heard.append)
    await connection.flush()
    async with await Connection.open(settings) as other:
        for n in range(1_000):
            other.publish("news", b"%d" % n)
    await eventually(lambda: len(heard) == 1_000)


async def test_writable_waits_until_the_network_took_it(
    server: EmbeddedServer, settings: ConnectionSettings
) -> None:
    small = ConnectionSettings(
        servers=settings.servers, path=settings.path, max_pending_bytes=200_000, ping_interval=30
    )
    async with await Connection.open(small) as connection:
        server.pause()
        payload = b"x" * 50_000
        sent = 0

        async def fill() -> None:
            nonlocal sent
            while True:
                await connection.writable()
                connection.publish("sink", payload)
                sent += 1

        filling = asyncio.create_task(fill())
        progress = -1
        while sent != progress:
            progress = sent
            await asyncio.sleep(0.3)
        assert not filling.done()
        server.resume()
        await eventually(lambda: sent > progress + 100)
        filling.cancel()
        await asyncio.wait({filling})
        assert connection.statistics.reconnects == 0


async def test_writable_waits_for_the_connection(
    connection: Connection, server: EmbeddedServer
) -> None:
    await server.kill()
    await eventually(lambda: not connection.is_connected)
    waiting = asyncio.create_task(connection.writable())
    await server.start()
    await waiting
    assert connection.is_connected
