"""The fault proxy itself: every fault does what its name says, and heals."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import FaultProxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def proxy(echo: int) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(echo) as proxy:
        yield proxy


@pytest.fixture
async def streams(proxy: FaultProxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.transport.abort()


async def silent(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.readexactly(1), 0.2)
    except TimeoutError:
        return True
    return False


async def test_forwards_both_ways(streams: Streams) -> None:
    reader, writer = streams
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_a_one_way_black_hole_holds_back_until_it_heals(
    proxy: FaultProxy, streams: Streams, direction: str
) -> None:
    reader, writer = streams
    proxy.black_hole(direction)  # type: ignore[arg-type]
    writer.write(b"x")
    assert await silent(reader)
    proxy.heal()
    assert await reader.readexactly(1) == b"x"


async def test_a_black_hole_hides_the_end_of_a_connection(
    proxy: FaultProxy, streams: Streams
) -> None:
    reader, writer = streams
    proxy.black_hole()
    writer.write_eof()
    assert await silent(reader)


async def test_a_cut_ends_the_connection_and_the_next_one_works(
    proxy: FaultProxy, streams: Streams
) -> None:
    reader, writer = streams
    writer.write(b"x")
    await reader.readexactly(1)
    proxy.cut()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"y")
    assert await reader.readexactly(1) == b"y"
    assert proxy.connections == 2
    writer.transport.abort()


async def test_refuses_and_accepts_again_on_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    proxy.refuse()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    await proxy.accept()
    assert proxy.port == port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.abort()


async def test_delays(proxy: FaultProxy, streams: Streams) -> None:
    reader, writer = streams
    proxy.delay(0.3)
    writer.write(b"x")
    assert await silent(reader)
    proxy.heal()
    assert await reader.readexactly(1) == b"x"


async def test_injects(proxy: FaultProxy, streams: Streams) -> None:
    reader, writer = streams
    writer.write(b"x")
    await reader.readexactly(1)
    proxy.inject("to_server", b"y")
    proxy.inject("to_client", b"z")
    assert sorted(await reader.readexactly(2)) == sorted(b"yz")
