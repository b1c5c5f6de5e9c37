"""What a store is told of the bindings of a remote node."""

from __future__ import annotations

from penguiflow import NodePolicy, RemoteCallResult, RemoteNode, create
from penguiflow.state import InMemoryStateStore, RemoteBinding, StoredEvent
from tests.support.flows import message
from tests.unit.remote_transports import Transport


class PlainStore:
    """Has the required methods only."""

    def __init__(self) -> None:
        self.bindings: list[RemoteBinding] = []

    async def save_event(self, event: StoredEvent) -> None: ...

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        return []

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        self.bindings.append(binding)


async def called(store: PlainStore | InMemoryStateStore) -> None:
    """One call of a remote task "t" in the session "s"."""
    transport = Transport(answer=RemoteCallResult("r", task_id="t"))
    policy = NodePolicy(validate="none")
    node = RemoteNode(transport=transport, skill="sum", agent_url="a", name="r", policy=policy)
    flow = create(node.to(), state_store=store)
    flow.run()
    await flow.emit(message(meta={"session_id": "s"}))
    await flow.fetch()
    await flow.stop()


async def test_store_without_a_look_up_is_told_of_a_binding_once() -> None:
    store = PlainStore()
    await called(store)
    assert [binding.is_terminal for binding in store.bindings] == [False]


async def test_store_with_a_look_up_hears_of_the_end() -> None:
    store = InMemoryStateStore()
    await called(store)
    (binding,) = await store.list_bindings(router_session_id="s")
    assert binding.is_terminal
    assert binding.metadata["outcome"] == "completed"
