"""What the store in memory does beyond the contracts that it keeps."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from penguiflow.artifacts import ArtifactRetentionConfig, ArtifactScope
from penguiflow.state import InMemoryStateStore, RemoteBinding, StoredEvent
from penguiflow.testing import VirtualClock
from penguiflow.testing.session_contract import steering, task, update


def event(trace_id: str | None = "trace", ts: float = 1.0, **changes: Any) -> StoredEvent:
    return StoredEvent(trace_id, ts, "kind", "node", "id", changes.pop("payload", {}), **changes)


async def times(store: InMemoryStateStore, trace_id: str = "trace") -> list[float]:
    return [each.ts for each in await store.load_history(trace_id)]


# ---- limits --------------------------------------------------------------------------------------


async def test_oldest_events_of_a_trace_are_dropped() -> None:
    store = InMemoryStateStore(max_events_per_trace=2)
    for ts in (1.0, 2.0, 3.0):
        await store.save_event(event(ts=ts))
        await store.save_event(event("other", ts=ts, event_id=str(ts)))
    assert await times(store) == [2.0, 3.0]
    assert await times(store, "other") == [2.0, 3.0]


async def test_identity_of_a_dropped_event_is_not_kept_for_ever() -> None:
    store = InMemoryStateStore(max_events_per_trace=1)
    for ts in (1.0, 2.0, 1.0):
        await store.save_event(event(ts=ts))
    assert await times(store) == [1.0]
    for name in ("a", "b", "a"):
        await store.save_event(event("ids", event_id=name))
    assert [each.event_id for each in await store.load_history("ids")] == ["a"]


async def test_dropping_one_of_two_alike_events_leaves_the_other_known() -> None:
    store = InMemoryStateStore(max_events_per_trace=2)
    for n in (1, 2, 3, 2):
        await store.save_event(event(payload={"n": n}))
    assert [each.payload["n"] for each in await store.load_history("trace")] == [2, 3]


async def test_oldest_updates_and_steering_events_of_a_session_are_dropped() -> None:
    store = InMemoryStateStore(max_updates_per_session=2, max_steering_events_per_session=1)
    updates = [update("s", n) for n in range(3)]
    events = [steering("s", str(n)) for n in range(2)]
    for each in updates:
        await store.save_update(each)
    for each in events:
        await store.save_steering(each)
    assert await store.list_updates("s") == updates[1:]
    assert await store.list_steering("s") == events[1:]


async def test_oldest_planner_events_of_a_trace_are_dropped() -> None:
    store = InMemoryStateStore(max_planner_events_per_trace=2)
    for n in range(3):
        await store.save_planner_event("trace", n)
    assert await store.list_planner_events("trace") == [1, 2]


async def test_limit_of_zero_is_none() -> None:
    store = InMemoryStateStore(
        max_events_per_trace=0,
        max_updates_per_session=0,
        max_steering_events_per_session=0,
        max_planner_events_per_trace=0,
    )
    for n in range(3):
        await store.save_event(event(ts=n))
        await store.save_update(update("s"))
        await store.save_steering(steering("s"))
        await store.save_planner_event("trace", n)
    found = (
        await store.load_history("trace"),
        await store.list_updates("s"),
        await store.list_steering("s"),
        await store.list_planner_events("trace"),
    )
    assert [len(each) for each in found] == [3, 3, 3, 3]


@pytest.mark.parametrize("limit", [0, -1])
async def test_page_of_zero_is_empty(limit: int) -> None:
    store = InMemoryStateStore()
    await store.save_update(update("s"))
    await store.save_trajectory("trace", "s", {})
    assert await store.list_updates("s", limit=limit) == []
    assert await store.list_traces("s", limit=limit) == []


# ---- events --------------------------------------------------------------------------------------


async def test_events_without_a_trace_are_the_global_trace() -> None:
    store = InMemoryStateStore()
    await store.save_event(event(None))
    assert await store.load_history("__global__") == [event(None)]


async def test_payload_that_cannot_be_copied_does_not_lose_the_event() -> None:
    store, lock = InMemoryStateStore(), threading.Lock()
    await store.save_event(event(payload={"lock": lock, "nested": [{"set": {1}}, (2,)]}))
    (found,) = await store.load_history("trace")
    assert found.payload == {"lock": lock, "nested": [{"set": {1}}, (2,)]}


async def test_histories_of_several_tenants_are_merged_by_time() -> None:
    store = InMemoryStateStore()
    for tenant, seq, ts in (("a", 1, 1.0), ("b", 0, 2.0), ("a", 2, 3.0)):
        await store.save_event(event(ts=ts, tenant=tenant, seq=seq, event_id=str(ts)))
    assert await times(store) == [1.0, 2.0, 3.0]


async def test_one_tenants_events_do_not_push_out_anothers() -> None:
    store = InMemoryStateStore(max_events_per_trace=1)
    await store.save_event(event(ts=1.0, tenant="quiet"))
    for ts in (2.0, 3.0):
        await store.save_event(event(ts=ts, tenant="busy"))
    assert await times(store) == [1.0, 3.0]


# ---- opaque values -------------------------------------------------------------------------------


class Trajectory:
    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def serialise(self) -> dict[str, Any]:
        return {"steps": list(self.steps)}

    @classmethod
    def from_serialised(cls, data: dict[str, Any]) -> Trajectory:
        return cls(data["steps"])

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("it has its own way to be copied")


async def test_trajectory_is_copied_in_its_own_way() -> None:
    store, trajectory = InMemoryStateStore(), Trajectory([1])
    await store.save_trajectory("trace", "session", trajectory)
    await store.save_planner_event("trace", trajectory)
    trajectory.steps.append(2)
    found = await store.get_trajectory("trace", "session")
    found.steps.append(3)
    assert (await store.get_trajectory("trace", "session")).steps == [1]
    (planner_event,) = await store.list_planner_events("trace")
    assert planner_event.steps == [1]


async def test_trajectory_without_a_way_of_its_own_is_deep_copied() -> None:
    store, trajectory = InMemoryStateStore(), {"steps": [1]}
    await store.save_trajectory("trace", "session", trajectory)
    trajectory["steps"].append(2)
    assert await store.get_trajectory("trace", "session") == {"steps": [1]}


async def test_trajectory_saved_again_is_the_newest() -> None:
    store = InMemoryStateStore()
    for trace_id in ("a", "b", "a"):
        await store.save_trajectory(trace_id, "session", {})
    assert await store.list_traces("session") == ["a", "b"]


# ---- artifacts -----------------------------------------------------------------------------------


async def test_artifacts_are_kept_within_the_retention_given() -> None:
    store = InMemoryStateStore(artifact_retention=ArtifactRetentionConfig(max_artifact_bytes=3))
    await store.artifact_store.put_bytes(b"123")
    with pytest.raises(ValueError, match=r"exceeds limit \(3 bytes\)"):
        await store.artifact_store.put_bytes(b"1234")


# ---- former names --------------------------------------------------------------------------------


async def test_former_names_do_the_same() -> None:
    store, news = InMemoryStateStore(), update("s")
    await store.save_task_update(news)
    assert await store.list_task_updates("s", task_id="task", since_id=None, limit=1) == [news]
    await store.save_planner_event("trace", {"a": 1})
    assert await store.get_events("trace") == [{"a": 1}]


# ---- forgetting ----------------------------------------------------------------------------------


async def filled() -> InMemoryStateStore:
    store = InMemoryStateStore()
    for session in ("s", "kept"):
        await store.save_task(task(session))
        await store.save_update(update(session))
        await store.save_steering(steering(session))
        await store.save_trajectory("trace", session, {})
        await store.save_event(event(f"session:{session}"))
        await store.save_memory_state(session, {})
        await store.save_planner_state(session, {})
        await store.save_planner_event(session, {})
        await store.save_remote_binding(
            RemoteBinding("trace", "c", session, "url", router_session_id=session)
        )
        scope = ArtifactScope(session_id=session)
        await store.artifact_store.put_text("text", scope=scope)
    return store


async def kept_of(store: InMemoryStateStore, session: str) -> list[int]:
    found = (
        await store.list_tasks(session),
        await store.list_updates(session),
        await store.list_steering(session),
        await store.list_traces(session),
        await store.load_history(f"session:{session}"),
        await store.list_bindings(router_session_id=session),
        await store.artifact_store.list(scope=ArtifactScope(session_id=session)),
    )
    return [len(each) for each in found]


async def test_clearing_a_session_leaves_the_others() -> None:
    store = await filled()
    store.clear_session("s")
    assert await kept_of(store, "s") == [0] * 7
    assert await kept_of(store, "kept") == [1] * 7


async def test_clearing_leaves_nothing() -> None:
    store = await filled()
    store.clear()
    assert await kept_of(store, "s") + await kept_of(store, "kept") == [0] * 14
    assert await store.load_memory_state("s") is None
    assert await store.load_planner_state("s") is None
    assert await store.list_planner_events("s") == []
    assert await store.find_bindings(include_terminal=True) == []


async def test_clearing_may_be_awaited() -> None:
    store = await filled()
    await store.clear_session("s")
    await store.artifact_store.clear_session("kept")
    await store.artifact_store.clear()
    await store.clear()
    assert await kept_of(store, "kept") == [0] * 7


async def test_deleted_trace_loses_its_bindings_and_planner_events() -> None:
    store = InMemoryStateStore()
    await store.save_event(event())
    await store.save_planner_event("trace", {})
    await store.save_remote_binding(RemoteBinding("trace", "c", "t", "url"))
    assert await store.delete_trace("trace") is True
    assert await store.list_planner_events("trace") == []
    assert await store.find_bindings(trace_id="trace") == []
    assert await store.delete_trace("trace") is False


async def test_trace_deleted_for_one_tenant_keeps_what_it_shares() -> None:
    store = InMemoryStateStore()
    await store.save_event(event(tenant="one"))
    await store.save_event(event(tenant="two"))
    await store.save_planner_event("trace", {})
    await store.save_remote_binding(RemoteBinding("trace", "c", "t", "url", tenant_id="two"))
    assert await store.delete_trace("trace", tenant="one") is True
    assert len(await store.list_planner_events("trace")) == 1
    assert len(await store.find_bindings(tenant_id="two")) == 1
    assert await store.delete_trace("trace", tenant="two") is True
    assert await store.list_planner_events("trace") == []


async def test_old_traces_expire_but_not_those_with_a_running_remote_task() -> None:
    clock = VirtualClock()
    store = InMemoryStateStore(clock=clock)
    for trace_id in ("old", "remote", "done"):
        await store.save_event(event(trace_id))
    await store.save_remote_binding(RemoteBinding("remote", "c", "t", "url"))
    await store.save_remote_binding(RemoteBinding("done", "c", "t", "url", is_terminal=True))
    await clock.advance(61)
    await store.save_event(event("fresh"))
    assert await store.expire_traces(older_than=timedelta(minutes=1)) == 2
    found = [len(await store.load_history(each)) for each in ("old", "done", "remote", "fresh")]
    assert found == [0, 0, 1, 1]
