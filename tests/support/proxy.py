"""A TCP proxy that misbehaves on demand: cuts, black holes (both ways or one), delays.

async with FaultProxy(server.port) as proxy:
    connection = await Connection.open(ConnectionSettings(servers=(proxy.url,)))
    proxy.black_hole("to_server")
"""

import asyncio
import contextlib
from typing import Literal, Self

Direction = Literal["to_server", "to_client"]
DIRECTIONS: tuple[Direction, ...] = ("to_server", "to_client")


class _Pair:
    """One proxied connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers: dict[Direction, asyncio.StreamWriter] = {
            "to_server": server,
            "to_client": client,
        }

    def abort(self) -> None:
        for writer in self.writers.values():
            writer.transport.abort()


class FaultProxy:
    """Forwards a local port to another one, until told otherwise."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Forward to `host:port`."""
        self.host = host
        self.port = 0
        self.connections = 0
        self._target = port
        self._delay = 0.0
        self._passes = {direction: asyncio.Event() for direction in DIRECTIONS}
        for gate in self._passes.values():
            gate.set()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"nats://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.accept()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Cut everything and end."""
        self.refuse()
        self.cut()
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def accept(self) -> None:
        """Accept connections, also again after `refuse`."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Accept no more connections; those that exist stay."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def cut(self) -> None:
        """Reset every connection."""
        for pair in list(self._pairs):
            pair.abort()

    def black_hole(self, *directions: Direction) -> None:
        """Let nothing through in these directions (without any: in both), not even the end."""
        for direction in directions or DIRECTIONS:
            self._passes[direction].clear()

    def heal(self) -> None:
        """Let everything through again, at once, and first what was held back."""
        self._delay = 0.0
        for gate in self._passes.values():
            gate.set()

    def delay(self, seconds: float) -> None:
        """Hold every piece back for a while, in both directions."""
        self._delay = seconds

    def inject(self, direction: Direction, data: bytes) -> None:
        """Send bytes that neither side has sent."""
        for pair in self._pairs:
            pair.writers[direction].write(data)

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(self.host, self._target)
        except OSError:
            client_writer.transport.abort()
            return
        self.connections += 1
        pair = _Pair(client_writer, server_writer)
        self._pairs.add(pair)
        pumps = [
            asyncio.create_task(self._pump(client_reader, pair, "to_server")),
            asyncio.create_task(self._pump(server_reader, pair, "to_client")),
        ]
        for pump in pumps:
            self._tasks.add(pump)
            pump.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, pair: _Pair, direction: Direction) -> None:
        writer, gate = pair.writers[direction], self._passes[direction]
        try:
            with contextlib.suppress(OSError):
                while True:
                    await gate.wait()
                    data = await reader.read(65_536)
                    await gate.wait()
                    if self._delay:
                        await asyncio.sleep(self._delay)
                    if not data:
                        break
                    writer.write(data)
                    await writer.drain()
        finally:
            # One side ended (or we do): the other must hear of it.
            pair.abort()
            self._pairs.discard(pair)
