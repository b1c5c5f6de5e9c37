"""The server behind a connection, as attributes of the spans that go over it."""

from __future__ import annotations

from typing import Any, Final

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.instrument import FlowPlace

_NOWHERE: Final[dict[str, Any]] = {}


class ServerAttributes:
    """`server.address` and `server.port` as they are now: made once for each connection."""

    def __init__(self, place: FlowPlace) -> None:
        self._server = place.server
        self._known: tuple[str, int] | None = None
        self._attributes: dict[str, Any] = _NOWHERE

    def now(self) -> dict[str, Any]:
        """The attributes; none while nobody knows the server. Not to be changed."""
        if self._server is None:
            return _NOWHERE
        server = self._server()
        if server is not self._known:
            self._known = server
            self._attributes = _NOWHERE
            if server is not None:
                self._attributes = {c.SERVER_ADDRESS: server[0], c.SERVER_PORT: server[1]}
        return self._attributes


__all__ = ["ServerAttributes"]
