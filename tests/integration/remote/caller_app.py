"""A caller in a process of its own, made to be killed: writes `task id, position, text` lines.

python -m tests.integration.remote.caller_app <server> <n>
"""

from __future__ import annotations

import asyncio
import sys

from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.calls import request


async def main() -> None:
    server, n = sys.argv[1], int(sys.argv[2])
    async with NatsTransport(server) as transport:
        async for event in transport.stream(request("count", {"n": n, "pause": 0.01})):
            sys.stdout.write(f"{event.task_id} {event.position} {event.text}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
