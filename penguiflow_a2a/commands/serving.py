"""Listens by HTTP, and by gRPC if that is wanted, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from penguiflow_a2a.bindings.http import create_a2a_http_app
from penguiflow_a2a.service import A2AService

_LARGEST = 64 * 1024 * 1024
"""Bytes of a gRPC message that are read at all; `A2AConfig.max_body` comes on top."""


class _Server(uvicorn.Server):
    """Leaves signals to the command."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listening:
    """The ports of one process; taken when it is made. Raises OSError when they are in use."""

    def __init__(self, host: str, port: int, grpc_port: int | None) -> None:
        self._host = host
        self._socket = socket.create_server((host, port))
        self._grpc: Any = None
        self.url = f"http://{_shown(host)}:{self._socket.getsockname()[1]}"
        self.grpc_target: str | None = None
        if grpc_port is not None:
            from grpc import aio

            self._grpc = aio.server(options=[("grpc.max_receive_message_length", _LARGEST)])
            bound = self._grpc.add_insecure_port(f"{host}:{grpc_port}")
            self.grpc_target = f"{_shown(host)}:{bound}"

    async def serve(
        self, service: A2AService, *, ready: Callable[[], None], stop: asyncio.Event, drain: float
    ) -> None:
        """Serve until `stop` is set, then finish within about `drain` seconds."""
        config = uvicorn.Config(
            create_a2a_http_app(service),
            log_level="warning",
            access_log=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=max(1, round(drain)),
        )
        http = _Server(config)
        await service.start()
        if self._grpc is not None:
            from penguiflow_a2a.bindings.grpc import add_a2a_grpc_service

            add_a2a_grpc_service(self._grpc, service)
            await self._grpc.start()
        serving = asyncio.ensure_future(http.serve(sockets=[self._socket]))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not http.started and not serving.done():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            ready()
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            http.should_exit = True
            if self._grpc is not None:
                await self._grpc.stop(drain)
            await serving
            await service.stop()


def _shown(host: str) -> str:
    """How others reach a host that was listened on."""
    return socket.gethostname() if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared
