"""The optional capabilities over a server: races, order without clocks, look-ups, large values."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from penguiflow.state.records import RemoteBinding
from penguiflow.state.tasks import TaskContextSnapshot, TaskState, TaskStatus, TaskType
from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.state_settings import StateRetention
from penguiflow_nats.state_store import NatsStateStore
from tests.integration.state.events import trace


def fresh(name: str) -> str:
    return f"{name}-{uuid4().hex}"


@pytest.mark.parametrize("size", [10, 700_000])
async def test_of_fifty_loaders_of_a_token_one_gets_the_state(
    shared_server: EmbeddedServer, store: NatsStateStore, size: int
) -> None:
    token, payload = fresh("token"), {"text": "x" * size}
    await store.save_planner_state(token, payload)
    settings = ConnectionSettings(servers=(shared_server.url,))
    connections = [await Connection.open(settings) for _ in range(5)]
    stores = [NatsStateStore(connections[n % 5]) for n in range(50)]
    loaded = await asyncio.gather(*(each.load_planner_state(token) for each in stores))
    for connection in connections:
        await connection.close()
    assert [each for each in loaded if each is not None] == [payload]


async def test_token_of_a_planner_is_not_shown_in_a_key(store: NatsStateStore) -> None:
    await store.save_planner_state("secret-token", {})
    assert not [key for key in await store._room.kv.keys("ps.*") if "secret" in key]


async def test_large_memory_is_replaced_and_leaves_nothing_behind(store: NatsStateStore) -> None:
    key = fresh("memory")
    for letter in "ab":
        await store.save_memory_state(key, {"text": letter * 3_000_000})
    loaded = await store.load_memory_state(key)
    assert loaded == {"text": "b" * 3_000_000}
    objects = store._room.claims.objects
    mine = [await objects._last(subject) for subject in await objects._subjects("M.>")]
    texts = [each.data.decode() for each in mine if each is not None]
    alive = [text for text in texts if f"me.{key}." in text and '"deleted":true' not in text]
    assert len(alive) == 1


def task(session_id: str, task_id: str, status: TaskStatus) -> TaskState:
    snapshot = TaskContextSnapshot(session_id=session_id, task_id=task_id)
    return TaskState(task_id, session_id, status, TaskType.BACKGROUND, 0, snapshot)


async def test_tasks_stay_in_the_order_of_their_creation(store: NatsStateStore) -> None:
    session_id = fresh("session")
    for task_id in ("one", "two", "three"):
        await store.save_task(task(session_id, task_id, TaskStatus.PENDING))
    await store.save_task(task(session_id, "one", TaskStatus.RUNNING))
    found = [(each.task_id, each.status) for each in await store.list_tasks(session_id)]
    assert [name for name, _ in found] == ["one", "two", "three"]
    assert found[0][1] is TaskStatus.RUNNING
    await store.clear_session(session_id)
    assert await store.list_tasks(session_id) == []


class Trajectory:
    """Knows how to be copied, and only that."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def serialise(self) -> dict[str, Any]:
        return {"steps": self.steps}

    @classmethod
    def from_serialised(cls, data: dict[str, Any]) -> Trajectory:
        return cls(data["steps"])


@dataclass
class Step:
    number: int


async def test_opaque_values_come_back_as_what_they_were(store: NatsStateStore) -> None:
    trace_id, session_id = trace(), fresh("session")
    await store.save_trajectory(trace_id, session_id, Trajectory([1, 2]))
    found = await store.get_trajectory(trace_id, session_id)
    assert isinstance(found, Trajectory)
    assert found.steps == [1, 2]
    await store.save_planner_event(trace_id, Step(1))
    await store.save_planner_event(trace_id, {"step": 2})
    assert await store.list_planner_events(trace_id) == [Step(1), {"step": 2}]


# Bindings


def binding(**changes: Any) -> RemoteBinding:
    made = RemoteBinding(
        trace(), "context", fresh("task"), "http://agent", router_session_id=fresh("session")
    )
    return replace(made, **changes)


async def test_bindings_are_found_by_remote_task_and_by_agent(store: NatsStateStore) -> None:
    agent = fresh("http://agent")
    one, two = binding(agent_url=agent), binding(agent_url=agent, last_remote_task_id=fresh("task"))
    for each in (one, two, binding()):
        await store.save_remote_binding(each)
    assert [held.binding for held in await store.find_bindings_of_agent(agent)] == [one, two]
    found = await store.find_bindings_of_task(two.last_remote_task_id or "")
    assert [held.binding for held in found] == [two]
    found = await store.find_bindings_of_task(one.task_id)
    assert [held.binding for held in found] == [one]


async def test_binding_that_moved_is_not_found_where_it_was(store: NatsStateStore) -> None:
    before = binding()
    after = replace(before, router_session_id=fresh("session"))
    await store.save_remote_binding(before)
    await store.save_remote_binding(after)
    session_id = before.router_session_id or ""
    assert await store.list_bindings(router_session_id=session_id) == []
    found = await store.list_bindings(router_session_id=after.router_session_id or "")
    assert found == [after]


async def test_of_twenty_workers_one_takes_a_binding_over(store: NatsStateStore) -> None:
    saved = binding()
    await store.save_remote_binding(saved)
    (held,) = await store.find_bindings(trace_id=saved.trace_id)
    taken = await asyncio.gather(
        *(
            store.take_over_binding(saved, owner=f"w{n}", expected_revision=held.revision)
            for n in range(20)
        )
    )
    (winner,) = [each for each in taken if each is not None]
    (now,) = await store.find_bindings(trace_id=saved.trace_id)
    assert now == winner


async def test_stale_bindings_are_swept_by_the_servers_clock(connection: Connection) -> None:
    store = NatsStateStore(connection, tenant=fresh("tenant"))
    old, renewed = binding(), binding()
    await store.save_remote_binding(old)
    await store.save_remote_binding(renewed)
    await asyncio.sleep(0.4)
    await store.save_remote_binding(renewed)
    swept = await store.sweep_bindings(older_than=timedelta(seconds=0.3))
    assert [each.task_id for each in swept] == [old.task_id]
    left = await store.find_bindings()
    assert [held.binding for held in left] == [renewed]


async def test_each_kind_has_a_time_to_live_of_its_own(connection: Connection) -> None:
    second = timedelta(seconds=1)
    retention = StateRetention(memory=second, planner_state=second)
    store = NatsStateStore(connection, tenant=fresh("tenant"), retention=retention)
    await store.save_memory_state("k", {"a": 1})
    await store.save_planner_state("t", {"a": 1})
    await store.save_remote_binding(binding())
    await asyncio.sleep(2.2)
    assert await store.load_memory_state("k") is None
    assert await store.load_planner_state("t") is None
    assert len(await store.find_bindings()) == 1
    await store.save_memory_state("k", {"a": 2})
    assert await store.load_memory_state("k") == {"a": 2}
