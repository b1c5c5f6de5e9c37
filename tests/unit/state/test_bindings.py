"""Bindings in memory: their age, and what must not happen to them."""

from __future__ import annotations

from datetime import timedelta

from penguiflow.state import InMemoryStateStore, RemoteBinding
from penguiflow.testing import VirtualClock


def binding(task_id: str = "task", tenant_id: str | None = None) -> RemoteBinding:
    return RemoteBinding("trace", "context", task_id, "url", tenant_id=tenant_id)


async def test_bindings_are_found_by_age_the_oldest_first() -> None:
    clock = VirtualClock()
    store = InMemoryStateStore(clock=clock)
    for task_id in ("a", "b", "c"):
        await store.save_remote_binding(binding(task_id))
        await clock.advance(10)
    found = await store.find_bindings(older_than=timedelta(seconds=15))
    assert [held.binding.task_id for held in found] == ["a", "b"]


async def test_every_write_makes_a_binding_young_again() -> None:
    clock = VirtualClock()
    store = InMemoryStateStore(clock=clock)
    await store.save_remote_binding(binding())
    await clock.advance(10)
    (held,) = await store.find_bindings(older_than=timedelta(seconds=5))
    taken = await store.take_over_binding(binding(), owner="me", expected_revision=held.revision)
    assert taken is not None
    assert taken.updated_at - held.updated_at == timedelta(seconds=10)
    assert await store.find_bindings(older_than=timedelta(seconds=5)) == []


async def test_binding_of_an_ended_task_is_not_left_open() -> None:
    store = InMemoryStateStore()
    await store.save_remote_binding(binding())
    await store.mark_binding_terminal(trace_id="trace", context_id="context", task_id="task")
    assert await store.find_bindings() == []
    (held,) = await store.find_bindings(include_terminal=True)
    assert held.binding.is_terminal


async def test_tenant_does_not_end_another_tenants_binding() -> None:
    store = InMemoryStateStore()
    for tenant in ("one", "two"):
        await store.save_remote_binding(binding(tenant_id=tenant))
    await store.mark_binding_terminal(
        trace_id="trace", context_id="context", task_id="task", tenant_id="one"
    )
    assert [held.binding.tenant_id for held in await store.find_bindings()] == ["two"]


async def test_tenant_does_not_see_another_tenants_binding() -> None:
    store = InMemoryStateStore()
    await store.save_remote_binding(binding(tenant_id="one"))
    assert await store.find_bindings(tenant_id="two") == []


async def test_marking_twice_is_one_write() -> None:
    store = InMemoryStateStore()
    await store.save_remote_binding(binding())
    revisions = []
    for _ in range(2):
        await store.mark_binding_terminal(trace_id="trace", context_id="context", task_id="task")
        (held,) = await store.find_bindings(include_terminal=True)
        revisions.append(held.revision)
    assert revisions[0] == revisions[1]


async def test_binding_saved_again_after_its_end_is_open_again() -> None:
    store = InMemoryStateStore()
    await store.save_remote_binding(binding())
    await store.mark_binding_terminal(trace_id="trace", context_id="context", task_id="task")
    await store.save_remote_binding(binding())
    (held,) = await store.find_bindings()
    assert not held.binding.is_terminal
