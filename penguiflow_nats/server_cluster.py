"""Several servers on the loopback that form one cluster, for demos and tests of failover."""

import asyncio
import contextlib
import json
import secrets
from typing import Any, Self

from penguiflow_nats.errors import ServerStartError
from penguiflow_nats.server import EmbeddedServer, free_port

_READY_TIMEOUT = 30.0
_POLL = 0.05


class ServerCluster:
    """A cluster with JetStream; nodes are addressed by their index."""

    def __init__(self, size: int = 3, config: str = "", host: str = "127.0.0.1") -> None:
        """Prepare, without starting.

        Args:
            size: Number of nodes.
            config: More configuration for every node, in the server's own syntax.
            host: Address to listen on.
        """
        self._host = host
        self._name = f"C{secrets.token_hex(4)}"
        self._routes = [free_port(host) for _ in range(size)]
        self._monitors = [free_port(host) for _ in range(size)]
        self.nodes = [
            EmbeddedServer(config=f"{self._render(index)}\n{config}", host=host)
            for index in range(size)
        ]

    @property
    def urls(self) -> tuple[str, ...]:
        """Addresses of all nodes, for clients."""
        return tuple(node.url for node in self.nodes)

    def _render(self, index: int) -> str:
        routes = ", ".join(f'"nats://{self._host}:{port}"' for port in self._routes)
        return (
            f'server_name: "n{index}"\n'
            f'http: "{self._host}:{self._monitors[index]}"\n'
            f'cluster {{ name: "{self._name}", listen: "{self._host}:{self._routes[index]}", '
            f"routes: [{routes}] }}"
        )

    async def __aenter__(self) -> Self:
        """Start all nodes and wait for the cluster."""
        try:
            await asyncio.gather(*(node.start() for node in self.nodes))
            await self.ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop all nodes."""
        await self.stop()

    async def stop(self) -> None:
        """Stop all nodes, and remove what was temporary."""
        # A majority that shuts down in good order waits for a leader; nothing here is kept.
        await asyncio.gather(*(node.kill() for node in self.nodes))
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def kill(self, index: int) -> None:
        """End a node with SIGKILL."""
        await self.nodes[index].kill()

    async def start(self, index: int) -> None:
        """Start a node again, with the same ports and store."""
        await self.nodes[index].start()

    async def ready(self) -> None:
        """Wait until every running node is healthy and there is a meta leader.

        Raises:
            ServerStartError: It did not come about in time.
        """
        running = [index for index, node in enumerate(self.nodes) if node.is_running]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_TIMEOUT):
                while True:
                    healthy = [await self._healthy(index) for index in running]
                    if all(healthy) and await self.meta_leader() is not None:
                        return
                    await asyncio.sleep(_POLL)
        tails = "\n".join(self.nodes[index].log_tail(5) for index in running)
        raise ServerStartError(reason="cluster did not become ready", log_tail=tails)

    async def meta_leader(self) -> int | None:
        """Index of the node that leads JetStream's own group; None during an election."""
        for index, node in enumerate(self.nodes):
            if node.is_running:
                state = await self._monitor(index, "/jsz") or {}
                leader = state.get("meta_cluster", {}).get("leader")
                if leader:
                    return self._index(leader)
        return None

    async def stream_leader(self, stream: str) -> int | None:
        """Index of the node that leads a stream; None without one or during an election."""
        found = await self._find_stream(stream)
        return self._index(found.get("cluster", {}).get("leader", "")) if found else None

    async def consumer_leader(self, stream: str, consumer: str) -> int | None:
        """Index of the node that leads a consumer; None without one or during an election."""
        found = await self._find_stream(stream) or {}
        for each in found.get("consumer_detail") or []:
            if each["name"] == consumer:
                return self._index(each.get("cluster", {}).get("leader", ""))
        return None

    async def _find_stream(self, stream: str) -> dict[str, Any] | None:
        """Ask every node, and believe the one that says it leads."""
        for index, node in enumerate(self.nodes):
            if not node.is_running:
                continue
            state = await self._monitor(index, "/jsz?streams=1&consumers=1") or {}
            for account in state.get("account_details") or []:
                for each in account.get("stream_detail") or []:
                    leader = each.get("cluster", {}).get("leader", "")
                    if each["name"] == stream and self._index(leader) == index:
                        return dict(each)
        return None

    def _index(self, name: str) -> int | None:
        return int(name[1:]) if name[1:].isdigit() else None

    async def _healthy(self, index: int) -> bool:
        state = await self._monitor(index, "/healthz")
        return state is not None and state.get("status") == "ok"

    async def _monitor(self, index: int, path: str) -> dict[str, Any] | None:
        """Read a page of a node's monitoring port; None if it does not answer."""
        try:
            reader, writer = await asyncio.open_connection(self._host, self._monitors[index])
        except OSError:
            return None
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {self._host}\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 5.0)
            return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))
        except (OSError, TimeoutError, ValueError):
            return None
        finally:
            writer.transport.abort()
