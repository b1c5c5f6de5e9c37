"""Subscriptions: synchronous callbacks that cannot break the reading, and survive reconnects."""

import logging

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ConnectionClosed, InvalidSubject
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.server import EmbeddedServer
from tests.support.eventually import eventually


async def test_messages_come_in_order_with_all_their_parts(connection: Connection) -> None:
    heard: list[Incoming] = []
    connection.subscribe("a.*", heard.append)
    for n in range(100):
        connection.publish(f"a.{n}", b"%d" % n, {"N": str(n)} if n % 2 else None, reply="back")
    await eventually(lambda: len(heard) == 100)
    assert [message.subject for message in heard] == [f"a.{n}" for n in range(100)]
    assert heard[1].headers == {"N": "1"}
    assert heard[2].headers is None
    assert {message.reply for message in heard} == {"back"}
    assert [int(message.data) for message in heard] == list(range(100))


@pytest.mark.parametrize("size", [0, 1, 32_767, 65_536, 900_000])
async def test_frames_of_any_size_arrive_whole(connection: Connection, size: int) -> None:
    heard: list[Incoming] = []
    connection.subscribe("big", heard.append)
    payload = bytes(range(256)) * (size // 256) + b"\r" * (size % 256)
    for _ in range(3):
        connection.publish("big", payload, {"Size": str(size)})
    await eventually(lambda: len(heard) == 3)
    assert all(message.data == payload for message in heard)
    assert all(message.headers == {"Size": str(size)} for message in heard)


async def test_a_callback_that_raises_is_logged_counted_and_called_again(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    def callback(message: Incoming) -> None:
        heard.append(message.data)
        if message.data == b"bad":
            raise ZeroDivisionError

    connection.subscribe("a", callback)
    with caplog.at_level(logging.ERROR, "penguiflow.nats"):
        for data in (b"good", b"bad", b"good"):
            connection.publish("a", data)
        await eventually(lambda: len(heard) == 3)
    assert connection.statistics.callback_errors == 1
    assert "ZeroDivisionError" in caplog.text
    await connection.flush()


async def test_unsubscribing_ends_it_at_once(connection: Connection) -> None:
    heard: list[Incoming] = []
    subscription = connection.subscribe("a", heard.append)
    connection.publish("a")
    await eventually(lambda: heard)
    connection.publish("a")
    subscription.unsubscribe()
    subscription.unsubscribe()
    await connection.flush()
    connection.publish("a")
    await connection.flush()
    assert len(heard) == 1


async def test_draining_hears_what_is_on_its_way(connection: Connection) -> None:
    heard: list[Incoming] = []
    subscription = connection.subscribe("a", heard.append)
    for _ in range(500):
        connection.publish("a")
    await subscription.drain()
    assert len(heard) == 500
    connection.publish("a")
    await connection.flush()
    assert len(heard) == 500
    await subscription.drain()


async def test_a_queue_group_gets_each_message_once(connection: Connection) -> None:
    heard: list[Incoming] = []
    for _ in range(3):
        connection.subscribe("work", heard.append, queue="workers")
    for _ in range(100):
        connection.publish("work")
    await eventually(lambda: len(heard) >= 100)
    await connection.flush()
    assert len(heard) == 100


async def test_many_subscriptions_come_back_after_a_restart(
    connection: Connection, server: EmbeddedServer
) -> None:
    heard: list[str] = []
    for n in range(1_500):
        connection.subscribe(f"a.{n}", lambda message: heard.append(message.subject))
    ended = connection.subscribe("a.1", lambda message: heard.append("ended"))
    ended.unsubscribe()
    await server.kill()
    await server.start()
    await eventually(lambda: connection.is_connected and connection.statistics.reconnects == 1)
    for n in range(1_500):
        connection.publish(f"a.{n}")
    await eventually(lambda: len(heard) == 1_500)
    assert heard == [f"a.{n}" for n in range(1_500)]


async def test_subscribing_while_disconnected_takes_effect_later(
    connection: Connection, server: EmbeddedServer
) -> None:
    await server.kill()
    await eventually(lambda: not connection.is_connected)
    heard: list[Incoming] = []
    connection.subscribe("a", heard.append)
    await server.start()
    await connection.writable()
    connection.publish("a")
    await eventually(lambda: heard)


async def test_bad_subjects_and_closed_connections_are_refused(connection: Connection) -> None:
    with pytest.raises(InvalidSubject):
        connection.subscribe("a b", print)
    with pytest.raises(InvalidSubject):
        connection.subscribe("a", print, queue="a\r\n")
    await connection.close()
    with pytest.raises(ConnectionClosed):
        connection.subscribe("a", print)


async def test_a_status_header_of_a_publisher_is_content(connection: Connection) -> None:
    heard: list[Incoming] = []
    connection.subscribe("a", heard.append)
    connection.publish("a", b"data", {"Status": "503"})
    await eventually(lambda: heard)
    assert heard[0].status == 0
    assert heard[0].headers == {"Status": "503"}


async def test_listeners_hear_of_loss_and_return(
    connection: Connection, server: EmbeddedServer
) -> None:
    events: list[str] = []

    def broken() -> None:
        raise ZeroDivisionError

    connection.on_disconnect(broken)
    connection.on_disconnect(lambda: events.append("down"))
    connection.on_reconnect(lambda: events.append("up"))
    connection.on_reconnect(lambda: events.append("never"))()
    await server.kill()
    await server.start()
    await eventually(lambda: len(events) == 2)
    assert events == ["down", "up"]
