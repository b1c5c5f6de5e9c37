"""Reads values without the classes they were made of, for programs that only show them."""

from __future__ import annotations

from typing import Any

from penguiflow.durable import extension
from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.unpacking import Unpacker
from penguiflow_nats.runtime import Server
from penguiflow_nats.transport import NatsTransport


class _PlainUnpacker(Unpacker):
    """Gives the fields of a model, dataclass or struct as a dict, and the name of an enum's
    member, whatever class they are of."""

    def __init__(self) -> None:
        super().__init__(TypeMap(loaded=False))
        for code in extension.NAMED:
            self._readers[code] = self._fields

    def _fields(self, data: memoryview) -> Any:
        return self._array(data)[1]


class PlainCodec(ValueCodec):
    """A codec that needs to know no types."""

    def __init__(self) -> None:
        super().__init__(TypeMap(loaded=False))
        self._unpacker = _PlainUnpacker()
        self.unpack = self._unpacker.unpack


class PlainTransport(NatsTransport):
    """Gives results as plain data: for terminals, gateways and whoever else has no classes."""

    def __init__(self, server: Server | None = None, **options: Any) -> None:
        super().__init__(server, **options)
        self._codec = PlainCodec()


__all__ = ["PlainCodec", "PlainTransport"]
