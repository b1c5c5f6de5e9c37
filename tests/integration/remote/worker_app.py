"""A durable flow with a remote node, and a worker of it in a process of its own.

python -m tests.integration.remote.worker_app <server>
"""

from __future__ import annotations

import asyncio
import sys

from penguiflow import NodePolicy, PenguiFlow, create
from penguiflow.remote import RemoteNode
from penguiflow_nats import runtime
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.calls import AGENT


def flow_of(
    transport: NatsTransport, skill: str = "count", *, streaming: bool = True, **policy: object
) -> PenguiFlow:
    """A flow of one remote node."""
    node = RemoteNode(
        transport=transport,
        skill=skill,
        agent_url=AGENT,
        name="remote",
        streaming=streaming,
        policy=NodePolicy(validate="none", **policy),  # type: ignore[arg-type]
    )
    return create(node.to(), name=f"remote-{skill}")


async def main() -> None:
    server = sys.argv[1]
    transport = NatsTransport(server)
    async with transport, runtime.worker(flow_of(transport), server, lease=1.0):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
