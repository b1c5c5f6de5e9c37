"""A worker of a later version: it reads format 9 as well, in a process of its own.

Format 9 of this test is format 1 with its number changed.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

import penguiflow.durable.envelope as wire
from penguiflow_nats import runtime
from tests.integration.redrive.mixed_flow import flow

_decoder = wire._DECODER


class Newer:
    """Reads both formats."""

    def decode(self, data: bytes) -> wire.Envelope:
        fields = msgspec.msgpack.decode(data)
        if isinstance(fields, list) and fields and fields[0] == 9:
            data = msgspec.msgpack.encode([1, *fields[1:]])
        return _decoder.decode(data)


async def main(url: str) -> None:
    async with runtime.worker(flow, url, concurrency=4, drain=1.0):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    wire._DECODER = Newer()  # type: ignore[misc, assignment]
    asyncio.run(main(sys.argv[1]))
