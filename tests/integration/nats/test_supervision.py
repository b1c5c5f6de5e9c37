"""A connection comes back from everything that ends a nats-py client for good."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ConnectFailed, NotConnected, OutcomeUnknown
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.server import EmbeddedServer, free_port
from penguiflow_nats.settings import ConnectionSettings, WirePath
from tests.support.eventually import eventually
from tests.support.proxy import FaultProxy


def through(proxy: FaultProxy, path: WirePath, ping_interval: float = 30.0) -> ConnectionSettings:
    return ConnectionSettings(servers=(proxy.url,), path=path, ping_interval=ping_interval)


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """A server that accepts and never says anything."""
    writers: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(
        lambda reader, writer: writers.append(writer), "127.0.0.1", 0
    )
    yield f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()
    for writer in writers:
        writer.transport.abort()


async def works(connection: Connection) -> bool:
    heard: list[Incoming] = []
    subscription = connection.subscribe("works", heard.append)

    def published() -> bool:
        # What is published may be lost with the connection.
        with contextlib.suppress(NotConnected):
            connection.publish("works")
        return bool(heard)

    await eventually(published)
    subscription.unsubscribe()
    return True


@pytest.mark.parametrize(
    "line",
    [
        b"PUB " + b"x" * 5_000 + b" 0\r\n\r\n",  # maximum control line exceeded
        b"NONSENSE\r\n",  # unknown protocol operation
        b"PUB a 99999999\r\n",  # maximum payload violation
    ],
)
async def test_what_makes_the_server_close_is_rebuilt(
    server: EmbeddedServer, path: WirePath, line: bytes
) -> None:
    async with (
        FaultProxy(server.port) as proxy,
        await Connection.open(through(proxy, path)) as connection,
    ):
        first = connection.client
        connection.subscribe("deaf", lambda message: None)
        waiting = connection.request("deaf", timeout=600)
        await connection.flush()
        proxy.inject("to_server", line)
        with pytest.raises(OutcomeUnknown):
            await waiting
        await connection.writable()
        assert connection.client is not first
        assert await works(connection)


@pytest.mark.parametrize(
    "line",
    [
        b"-ERR 'Authorization Violation'\r\n",
        b"-ERR 'User Authentication Expired'\r\n",
        b"-ERR 'maximum subscriptions exceeded'\r\n",
        b"-ERR 'Stale Connection'\r\n",
        b"WHAT IS THIS\r\n",
        b"MSG a x y z\r\n",
        b"INFO {not json}\r\n",
    ],
)
async def test_what_the_server_might_say_last_is_rebuilt(
    server: EmbeddedServer, path: WirePath, line: bytes
) -> None:
    async with (
        FaultProxy(server.port) as proxy,
        await Connection.open(through(proxy, path)) as connection,
    ):
        proxy.inject("to_client", line)
        await eventually(lambda: connection.statistics.reconnects == 1)
        assert await works(connection)


async def test_a_late_pong_does_not_leave_the_client_deaf(
    server: EmbeddedServer, path: WirePath
) -> None:
    async with (
        FaultProxy(server.port) as proxy,
        await Connection.open(through(proxy, path)) as connection,
    ):
        proxy.black_hole("to_client")
        with pytest.raises(OutcomeUnknown):
            await connection.flush(timeout=0.1)
        proxy.heal()
        await connection.writable()
        assert await works(connection)
        await connection.flush()


async def test_a_dead_read_loop_is_noticed(server: EmbeddedServer, path: WirePath) -> None:
    settings = ConnectionSettings(servers=(server.url,), path=path)
    async with await Connection.open(settings) as connection:
        client = connection.client
        assert client is not None
        # nats-py finds a cancelled future in this queue when the next PONG comes, and stops
        # reading while it still calls itself connected.
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        client._pongs.insert(0, future)
        with pytest.raises(OutcomeUnknown):
            await connection.flush()
        await connection.writable()
        assert connection.client is not client
        assert await works(connection)


@pytest.mark.parametrize("directions", [(), ("to_server",), ("to_client",)])
async def test_a_black_hole_is_noticed_within_three_pings(
    server: EmbeddedServer, path: WirePath, directions: tuple[str, ...]
) -> None:
    interval = 0.8
    loop = asyncio.get_running_loop()
    async with (
        FaultProxy(server.port) as proxy,
        await Connection.open(through(proxy, path, interval)) as connection,
    ):
        connection.subscribe("deaf", lambda message: None)
        waiting = connection.request("deaf", timeout=600)
        await connection.flush()
        # Unsent bytes must not delay it: nats-py would wait for them on the way out.
        client = connection.client
        proxy.black_hole(*directions)  # type: ignore[arg-type]
        began = loop.time()
        for _ in range(40):
            connection.publish("sink", b"x" * 100_000)
        with pytest.raises(OutcomeUnknown):
            await waiting
        assert loop.time() - began <= 3 * interval
        proxy.heal()
        await connection.writable()
        assert connection.client is not client
        assert await works(connection)


async def test_a_flapping_link_leaks_nothing(server: EmbeddedServer, path: WirePath) -> None:
    async with (
        FaultProxy(server.port) as proxy,
        await Connection.open(through(proxy, path)) as connection,
    ):
        connection.subscribe("ask", lambda m: connection.publish(m.reply, m.data))
        before = len(asyncio.all_tasks())
        answered = 0
        for round_ in range(15):
            await connection.writable()
            futures = [connection.request("ask", b"%d" % n) for n in range(50)]
            if round_ % 2:
                await connection.flush()  # the questions are here,
                await connection.flush()  # and so are the answers
            proxy.cut()
            done = await asyncio.gather(*futures, return_exceptions=True)
            answered += sum(isinstance(each, Incoming) for each in done)
            assert all(isinstance(each, Incoming | OutcomeUnknown) for each in done)
        await connection.writable()
        assert await works(connection)
        assert answered > 0
        assert connection.statistics.waiting == 0
        await eventually(lambda: len(asyncio.all_tasks()) <= before + 4)


async def test_nothing_unsent_is_delivered_after_a_loss(
    server: EmbeddedServer, path: WirePath
) -> None:
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as witness:
        heard: list[Incoming] = []
        witness.subscribe("late", heard.append)
        await witness.flush()
        async with (
            FaultProxy(server.port) as proxy,
            await Connection.open(through(proxy, path)) as connection,
        ):
            connection.publish("late")
            proxy.cut()
            await eventually(lambda: connection.statistics.reconnects == 1)
            await connection.flush()
            await witness.flush()
            assert len(heard) <= 1


async def test_opening_without_a_server_fails_with_its_address_and_no_secret() -> None:
    port = free_port()
    settings = ConnectionSettings(servers=(f"nats://me:secret@127.0.0.1:{port}",))
    with pytest.raises(ConnectFailed) as caught:
        await Connection.open(settings)
    assert caught.value.servers == (f"nats://127.0.0.1:{port}",)
    assert "secret" not in str(caught.value)


async def test_opening_against_silence_fails_in_time(path: WirePath) -> None:
    async with silence() as url:
        settings = ConnectionSettings(servers=(url,), path=path, connect_timeout=0.3)
        with pytest.raises(ConnectFailed):
            await Connection.open(settings)


async def test_a_second_server_is_taken_when_the_first_is_gone(path: WirePath) -> None:
    async with EmbeddedServer() as one, EmbeddedServer() as two:
        settings = ConnectionSettings(servers=(one.url, two.url), path=path)
        async with await Connection.open(settings) as connection:
            await one.kill()
            await eventually(lambda: connection.statistics.reconnects == 1)
            assert await works(connection)
            client = connection.client
            assert client is not None
            assert client.connected_url is not None
            assert client.connected_url.port == two.port


async def test_cancelling_open_leaves_nothing_behind(path: WirePath) -> None:
    async with silence() as url:
        before = asyncio.all_tasks()
        opening = asyncio.create_task(
            Connection.open(ConnectionSettings(servers=(url,), path=path))
        )
        await asyncio.sleep(0.1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await eventually(lambda: asyncio.all_tasks() <= before)


async def test_an_adopted_client_is_used_and_never_closed(
    server: EmbeddedServer, path: WirePath
) -> None:
    client = Client()
    await client.connect(server.url, reconnect_time_wait=0, max_reconnect_attempts=-1)
    client._error_cb = quiet
    heard: list[Incoming] = []
    connection = await Connection.adopt(client, ConnectionSettings(path=path))
    connection.subscribe("ask", lambda m: connection.publish(m.reply, m.data))
    connection.subscribe("news", heard.append)
    assert (await connection.request("ask", b"x")).data == b"x"

    connection.subscribe("deaf", lambda message: None)
    waiting = connection.request("deaf", timeout=600)
    await connection.flush()
    await server.kill()
    with pytest.raises(OutcomeUnknown):
        await waiting
    await server.start()
    await connection.writable()
    assert (await connection.request("ask", b"y")).data == b"y"
    connection.publish("news")
    await connection.flush()
    await eventually(lambda: heard)
    assert len(heard) == 1

    await connection.close()
    assert client.is_connected
    await client.flush()
    assert not client._subs
    await client.close()


async def test_an_adopted_client_that_is_closed_closes_the_connection(
    server: EmbeddedServer, path: WirePath
) -> None:
    client = Client()
    await client.connect(server.url)
    connection = await Connection.adopt(client, ConnectionSettings(path=path))
    connection.subscribe("deaf", lambda message: None)
    waiting = connection.request("deaf", timeout=600)
    await client.close()
    with pytest.raises(OutcomeUnknown):
        await waiting
    await eventually(lambda: connection.is_closed)
    await connection.close()
    with pytest.raises(ConnectFailed):
        await Connection.adopt(client)


async def test_losses_are_logged_without_tracebacks(
    connection: Connection, server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await server.kill()
        await eventually(lambda: not connection.is_connected)
        await server.start()
        await connection.writable()
    assert "connection lost" in caplog.text
    assert "connection is back" in caplog.text
    assert "Traceback" not in caplog.text


async def quiet(error: Exception) -> None:
    """Say nothing."""
