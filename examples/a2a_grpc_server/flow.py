"""A flow as an A2A agent over gRPC: python examples/a2a_grpc_server/flow.py

Serves a flow, reads its card's skills, sends it a message, and streams the answer to another one.
Tasks live in this process; `NatsTaskBoard` as the service's `store` makes them outlive it.
"""

import asyncio
import importlib.util
import sys
import uuid
from pathlib import Path

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc
from a2a.types import a2a_pb2 as a2a
from a2a.types.a2a_pb2_grpc import A2AServiceStub

from penguiflow import Context, Message, Node, NodePolicy, create
from penguiflow_a2a import A2AService, add_a2a_grpc_service, card_of

VERSION = (("a2a-version", "1.0"),)


async def count_words(message: Message, ctx: Context) -> Message:
    """Counts the words of a text, and says each of them."""
    words = str(message.payload).split()
    for number, word in enumerate(words, 1):
        await ctx.emit_chunk(parent=message, text=word + " ", done=number == len(words))
    return message.model_copy(update={"payload": {"words": len(words)}})


flow = create(
    Node(count_words, name="count_words", policy=NodePolicy(validate="none")).to(), name="counter"
)


def request(text: str) -> a2a.SendMessageRequest:
    """A message of a user."""
    part = a2a.Part(text=text)
    message = a2a.Message(message_id=uuid.uuid4().hex, role=a2a.ROLE_USER, parts=[part])
    return a2a.SendMessageRequest(message=message)


async def call(target: str) -> None:
    """What a client does."""
    async with grpc.aio.insecure_channel(target) as channel:
        agent = A2AServiceStub(channel)
        answer = await agent.SendMessage(request("penguins swim well"), metadata=VERSION)
        task = answer.task
        print(f"task {a2a.TaskState.Name(task.status.state)}: {task.artifacts[-1].parts[0].data}")
        async for event in agent.SendStreamingMessage(request("and dive"), metadata=VERSION):
            kind = event.WhichOneof("payload")
            if kind == "artifact_update":
                update = event.artifact_update
                print(f"{update.artifact.artifact_id}: {update.artifact.parts[0].text!r}")
            elif kind == "status_update":
                print(f"status: {a2a.TaskState.Name(event.status_update.status.state)}")


async def main() -> None:
    """Serve, call, stop."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    target = f"127.0.0.1:{port}"
    card = card_of(flow, url="http://127.0.0.1:8080", grpc_url=target)
    service = A2AService(flow, agent_card=card)
    add_a2a_grpc_service(server, service)
    await server.start()
    try:
        print(f"{card.name}: {card.skills[0].description}")
        await call(target)
    finally:
        await server.stop(1)
        await service.stop()
    print("Everything that was started is stopped.")


if __name__ == "__main__":
    asyncio.run(main())
