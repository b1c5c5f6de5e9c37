"""A flow that calls an A2A agent that is a flow itself: python examples/a2a_mesh/flow.py

The node `count` of our flow is an agent elsewhere. Its chunks are ours while it works, its result
is the node's, and a cancelled trace here would stop its code there. Here both run in one process.
"""

import asyncio
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc

from penguiflow import Context, Headers, Message, Node, NodePolicy, create
from penguiflow.remote import RemoteNode
from penguiflow_a2a import (
    A2AGrpcTransport,
    A2AService,
    OutboundPolicy,
    add_a2a_grpc_service,
    card_of,
)

ANY = NodePolicy(validate="none")


async def count_words(message: Message, ctx: Context) -> Message:
    """Counts the words of a text."""
    return message.model_copy(update={"payload": {"words": len(str(message.payload).split())}})


async def report(found: object, ctx: Context) -> str:
    """Says what the agent found."""
    return f"the agent says {found}"


async def main() -> None:
    """Serve one flow, and call it from another."""
    counter = create(Node(count_words, name="count_words", policy=ANY).to(), name="counter")
    server = grpc.aio.server()
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    card = card_of(counter, url=f"http://{target}", grpc_url=target)
    service = A2AService(counter, agent_card=card)
    add_a2a_grpc_service(server, service)
    await server.start()

    # Plain connections to this machine are for development: by default they are refused.
    transport = A2AGrpcTransport(policy=OutboundPolicy(allow_private=True), timeout_s=30.0)
    count = RemoteNode(
        transport=transport,
        skill="count_words",
        agent_url=f"grpc://{target}",
        name="count",
        policy=ANY,
    )
    last = Node(report, name="report", policy=ANY)
    ours = create(count.to(last), last.to())
    ours.run()
    try:
        message = Message(payload="penguins swim well", headers=Headers(tenant="default"))
        await ours.emit(message)
        print(await ours.fetch())
    finally:
        await ours.stop()
        await transport.close()
        await server.stop(1)
        await service.stop()
    print("Everything that was started is stopped.")


if __name__ == "__main__":
    asyncio.run(main())
