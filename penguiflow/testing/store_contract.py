"""The promises of a state store: one class for what is required, one for each capability.

StateStoreContract              events, history, bindings
EventIdentityContract           event ids, sequences
BulkEventsContract              SupportsBulkEvents
TenantHistoryContract           SupportsTenantHistory
RetentionContract               SupportsRetention
PlannerStateContract            SupportsPlannerState
PlannerEventsContract           SupportsPlannerEvents
MemoryStateContract             SupportsMemoryState
TrajectoriesContract            SupportsTrajectories
ArtifactsContract               SupportsArtifacts
TasksContract                   SupportsTasks
SteeringContract                SupportsSteering
ConversationBindingsContract    SupportsConversationBindings
BindingTransferContract         SupportsBindingTransfer
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from penguiflow.artifacts.protocol import ArtifactStore
from penguiflow.state.records import RemoteBinding, StoredEvent
from penguiflow.testing.binding_contract import (
    BindingTransferContract,
    ConversationBindingsContract,
)
from penguiflow.testing.contract import Contract, check, check_equal, fresh, only
from penguiflow.testing.session_contract import SteeringContract, TasksContract


def event(trace_id: str | None, ts: float = 1.0, **changes: Any) -> StoredEvent:
    """An event of a trace."""
    fields: dict[str, Any] = {
        "kind": "node_start",
        "node_name": "node",
        "node_id": "node-1",
        "payload": {"attempt": 0, "extra": {"list": [1, 2]}},
    }
    return StoredEvent(trace_id=trace_id, ts=ts, **{**fields, **changes})


def times(history: Any) -> list[float]:
    """The times of a history's events."""
    return [each.ts for each in history]


class StateStoreContract(Contract):
    """What every `StateStore` promises."""

    async def test_history_of_an_unknown_trace_is_empty(self) -> None:
        async with self.open_store() as store:
            await store.save_event(event(fresh("trace")))
            history = await store.load_history(fresh("trace"))
            check_equal(list(history), [], "an unknown trace has no events")

    async def test_history_gives_back_what_was_saved(self) -> None:
        async with self.open_store() as store:
            saved = event(fresh("trace"), payload={"text": "käse", "n": 1.5, "deep": [{"a": None}]})
            await store.save_event(saved)
            history = await store.load_history(saved.trace_id)
            check_equal(list(history), [saved], "an event comes back as it was saved")

    async def test_event_saved_twice_is_stored_once(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            await store.save_event(event(trace_id))
            await store.save_event(event(trace_id))
            history = await store.load_history(trace_id)
            check_equal(len(history), 1, "saving an event is idempotent")

    async def test_events_that_differ_only_in_payload_are_two(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            await store.save_event(event(trace_id, payload={"attempt": 0}))
            await store.save_event(event(trace_id, payload={"attempt": 1}))
            attempts = [each.payload for each in await store.load_history(trace_id)]
            check_equal(attempts, [{"attempt": 0}, {"attempt": 1}], "different events are kept")

    async def test_history_is_ordered_by_time(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            for ts in (3.0, 1.0, 2.0):
                await store.save_event(event(trace_id, ts))
            history = await store.load_history(trace_id)
            check_equal(times(history), [1.0, 2.0, 3.0], "history is ordered by ts")

    async def test_events_of_the_same_time_are_in_order_of_arrival(self) -> None:
        async with self.open_store() as store:
            trace_id, kinds = fresh("trace"), ["c", "a", "b"]
            for kind in kinds:
                await store.save_event(event(trace_id, kind=kind))
            history = await store.load_history(trace_id)
            check_equal([each.kind for each in history], kinds, "equal ts: order of arrival")

    async def test_traces_are_kept_apart(self) -> None:
        async with self.open_store() as store:
            one, other = fresh("trace"), fresh("trace")
            await store.save_event(event(one, 1.0))
            await store.save_event(event(other, 2.0))
            history = await store.load_history(one)
            check_equal(times(history), [1.0], "a history has only its own trace's events")

    async def test_event_without_trace_is_accepted(self) -> None:
        async with self.open_store() as store:
            await store.save_event(event(None))

    async def test_saved_event_does_not_change_with_its_origin(self) -> None:
        async with self.open_store() as store:
            saved = event(fresh("trace"))
            await store.save_event(saved)
            saved.payload["extra"]["list"].append(3)
            loaded = only(await store.load_history(saved.trace_id), "one event is stored")
            check_equal(loaded.payload["extra"], {"list": [1, 2]}, "the store keeps a copy")

    async def test_stored_event_does_not_change_with_what_was_loaded(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            await store.save_event(event(trace_id))
            loaded = only(await store.load_history(trace_id), "one event is stored")
            loaded.payload["extra"]["list"].append(3)
            again = only(await store.load_history(trace_id), "one event is stored")
            check_equal(again.payload["extra"], {"list": [1, 2]}, "the store gives a copy")

    async def test_binding_can_be_saved_again(self) -> None:
        async with self.open_store() as store:
            binding = RemoteBinding(fresh("trace"), "context", fresh("task"), "http://agent")
            for _ in range(2):
                result = await store.save_remote_binding(binding)
                check_equal(result, None, "saving a binding gives nothing back")


class EventIdentityContract(Contract):
    """What a store promises that knows `event_id`, `seq` and `tenant`."""

    async def test_id_sequence_and_tenant_come_back(self) -> None:
        async with self.open_store() as store:
            saved = event(fresh("trace"), event_id=fresh("event"), seq=7, tenant="tenant")
            await store.save_event(saved)
            check_equal(list(await store.load_history(saved.trace_id)), [saved], "all fields")

    async def test_redelivered_event_is_stored_once(self) -> None:
        async with self.open_store() as store:
            trace_id, event_id = fresh("trace"), fresh("event")
            await store.save_event(event(trace_id, 1.0, event_id=event_id))
            await store.save_event(event(trace_id, 2.0, event_id=event_id))
            history = await store.load_history(trace_id)
            check_equal(times(history), [1.0], "the first event with an id is the event")

    async def test_equal_events_with_different_ids_are_two(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            for _ in range(2):
                await store.save_event(event(trace_id, event_id=fresh("event")))
            history = await store.load_history(trace_id)
            check_equal(len(history), 2, "events with different ids are different events")

    async def test_sequence_beats_the_clock(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            for seq, ts in ((2, 1.0), (0, 3.0), (1, 2.0)):
                await store.save_event(event(trace_id, ts, seq=seq, event_id=fresh("event")))
            history = await store.load_history(trace_id)
            check_equal([each.seq for each in history], [0, 1, 2], "order by seq where all have it")

    async def test_time_decides_where_a_sequence_is_missing(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            for seq, ts in ((1, 1.0), (None, 2.0), (0, 3.0)):
                await store.save_event(event(trace_id, ts, seq=seq, event_id=fresh("event")))
            history = await store.load_history(trace_id)
            check_equal(times(history), [1.0, 2.0, 3.0], "order by ts unless all have a seq")


class BulkEventsContract(Contract):
    """What `SupportsBulkEvents` promises on top of `StateStore`."""

    async def test_bulk_is_saved_in_its_order(self) -> None:
        async with self.open_store() as store:
            trace_id, kinds = fresh("trace"), ["b", "c", "a"]
            await store.save_events([event(trace_id, kind=kind) for kind in kinds])
            history = await store.load_history(trace_id)
            check_equal([each.kind for each in history], kinds, "all, in the order given")

    async def test_bulk_of_several_traces_finds_its_traces(self) -> None:
        async with self.open_store() as store:
            one, other = fresh("trace"), fresh("trace")
            await store.save_events([event(one, 1.0), event(other, 2.0), event(one, 3.0)])
            check_equal(times(await store.load_history(one)), [1.0, 3.0], "the first trace")
            check_equal(times(await store.load_history(other)), [2.0], "the second trace")

    async def test_repeated_bulk_doubles_nothing(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            first, second = (event(trace_id, ts, event_id=fresh("event")) for ts in (1.0, 2.0))
            await store.save_event(first)
            await store.save_events([first, second])
            await store.save_events([first, second])
            check_equal(times(await store.load_history(trace_id)), [1.0, 2.0], "each event once")

    async def test_bulk_of_no_events_is_fine(self) -> None:
        async with self.open_store() as store:
            result = await store.save_events([])
            check_equal(result, None, "nothing to save is no error")


class TenantHistoryContract(Contract):
    """What `SupportsTenantHistory` promises on top of `StateStore`."""

    async def test_tenants_that_share_a_trace_id_do_not_share_a_history(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            for tenant, ts in (("one", 1.0), ("two", 2.0)):
                await store.save_event(event(trace_id, ts, tenant=tenant, event_id=fresh("event")))
            history = await store.load_tenant_history(trace_id, tenant="two")
            check_equal([each.tenant for each in history], ["two"], "only the tenant's events")

    async def test_equal_event_ids_of_two_tenants_are_two_events(self) -> None:
        async with self.open_store() as store:
            trace_id, event_id = fresh("trace"), fresh("event")
            for tenant in ("one", "two"):
                await store.save_event(event(trace_id, tenant=tenant, event_id=event_id))
            history = await store.load_tenant_history(trace_id, tenant="two")
            check_equal(len(history), 1, "one tenant's event does not hide another's")

    async def test_history_of_an_unknown_tenant_is_empty(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            await store.save_event(event(trace_id, tenant="one", event_id=fresh("event")))
            history = await store.load_tenant_history(trace_id, tenant="two")
            check_equal(list(history), [], "another tenant's events are not there")


class RetentionContract(Contract):
    """What `SupportsRetention` promises on top of `StateStore`."""

    async def test_deleted_trace_has_no_history(self) -> None:
        async with self.open_store() as store:
            gone, kept = fresh("trace"), fresh("trace")
            await store.save_events([event(gone), event(kept)])
            check_equal(await store.delete_trace(gone), True, "there was something to forget")
            check_equal(list(await store.load_history(gone)), [], "a deleted trace is gone")
            check_equal(len(await store.load_history(kept)), 1, "other traces stay")

    async def test_deleting_an_unknown_trace_says_so(self) -> None:
        async with self.open_store() as store:
            check_equal(await store.delete_trace(fresh("trace")), False, "nothing to forget")

    async def test_deleting_for_one_tenant_leaves_the_others(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            for tenant in ("one", "two"):
                await store.save_event(event(trace_id, tenant=tenant, event_id=fresh("event")))
            await store.delete_trace(trace_id, tenant="one")
            tenants = [each.tenant for each in await store.load_history(trace_id)]
            check_equal(tenants, ["two"], "only the named tenant's events go")

    async def test_fresh_trace_does_not_expire(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            await store.save_event(event(trace_id))
            await store.expire_traces(older_than=timedelta(hours=1))
            check_equal(len(await store.load_history(trace_id)), 1, "fresh events stay")


class PlannerStateContract(Contract):
    """What `SupportsPlannerState` promises."""

    async def test_loading_a_planner_state_consumes_it(self) -> None:
        async with self.open_store() as store:
            token = fresh("token")
            await store.save_planner_state(token, {"step": [1]})
            check_equal(await store.load_planner_state(token), {"step": [1]}, "first load")
            check_equal(await store.load_planner_state(token), None, "a token is good once")

    async def test_unknown_token_has_no_planner_state(self) -> None:
        async with self.open_store() as store:
            check_equal(await store.load_planner_state(fresh("token")), None, "unknown token")

    async def test_planner_states_are_kept_apart(self) -> None:
        async with self.open_store() as store:
            one, other = fresh("token"), fresh("token")
            await store.save_planner_state(one, {"step": 1})
            await store.save_planner_state(other, {"step": 2})
            check_equal(await store.load_planner_state(one), {"step": 1}, "the first token")
            check_equal(await store.load_planner_state(other), {"step": 2}, "the second token")


class PlannerEventsContract(Contract):
    """What `SupportsPlannerEvents` promises."""

    async def test_planner_events_come_back_in_order_of_arrival(self) -> None:
        async with self.open_store() as store:
            trace_id, events = fresh("trace"), [{"step": 2}, {"step": 1}]
            for each in events:
                await store.save_planner_event(trace_id, each)
            check_equal(list(await store.list_planner_events(trace_id)), events, "in order")

    async def test_planner_events_of_another_trace_are_not_listed(self) -> None:
        async with self.open_store() as store:
            await store.save_planner_event(fresh("trace"), {"step": 1})
            check_equal(list(await store.list_planner_events(fresh("trace"))), [], "other traces")


class MemoryStateContract(Contract):
    """What `SupportsMemoryState` promises."""

    async def test_last_memory_state_of_a_key_is_kept(self) -> None:
        async with self.open_store() as store:
            key = fresh("key")
            await store.save_memory_state(key, {"turn": 1})
            await store.save_memory_state(key, {"turn": 2})
            for _ in range(2):
                check_equal(await store.load_memory_state(key), {"turn": 2}, "the last one stays")

    async def test_unknown_key_has_no_memory_state(self) -> None:
        async with self.open_store() as store:
            check_equal(await store.load_memory_state(fresh("key")), None, "unknown key")

    async def test_saved_memory_state_does_not_change_with_its_origin(self) -> None:
        async with self.open_store() as store:
            key, state = fresh("key"), {"turns": [1]}
            await store.save_memory_state(key, state)
            state["turns"].append(2)
            check_equal(await store.load_memory_state(key), {"turns": [1]}, "it keeps a copy")


class TrajectoriesContract(Contract):
    """What `SupportsTrajectories` promises."""

    async def test_trajectory_comes_back_and_can_be_replaced(self) -> None:
        async with self.open_store() as store:
            trace_id, session_id = fresh("trace"), fresh("session")
            await store.save_trajectory(trace_id, session_id, {"steps": [1]})
            await store.save_trajectory(trace_id, session_id, {"steps": [1, 2]})
            found = await store.get_trajectory(trace_id, session_id)
            check_equal(found, {"steps": [1, 2]}, "the last one saved")

    async def test_trajectory_belongs_to_its_session(self) -> None:
        async with self.open_store() as store:
            trace_id = fresh("trace")
            await store.save_trajectory(trace_id, fresh("session"), {})
            found = await store.get_trajectory(trace_id, fresh("session"))
            check_equal(found, None, "not there in another session")

    async def test_trajectories_are_listed_newest_first_up_to_a_limit(self) -> None:
        async with self.open_store() as store:
            session_id, traces = fresh("session"), [fresh("trace") for _ in range(3)]
            for trace_id in traces:
                await store.save_trajectory(trace_id, session_id, {})
            check_equal(list(await store.list_traces(session_id)), traces[::-1], "newest first")
            newest = list(await store.list_traces(session_id, limit=2))
            check_equal(newest, [traces[2], traces[1]], "the newest up to the limit")


class ArtifactsContract(Contract):
    """What `SupportsArtifacts` promises; the store itself has a contract of its own."""

    async def test_artifact_store_is_one_and_the_same(self) -> None:
        async with self.open_store() as store:
            check(isinstance(store.artifact_store, ArtifactStore), "it has an ArtifactStore")
            ref = await store.artifact_store.put_bytes(b"bytes", scope=None)
            check_equal(await store.artifact_store.get(ref.id), b"bytes", "it keeps what it got")


__all__ = [
    "ArtifactsContract",
    "BindingTransferContract",
    "BulkEventsContract",
    "ConversationBindingsContract",
    "EventIdentityContract",
    "MemoryStateContract",
    "PlannerEventsContract",
    "PlannerStateContract",
    "RetentionContract",
    "StateStoreContract",
    "SteeringContract",
    "TasksContract",
    "TenantHistoryContract",
    "TrajectoriesContract",
]
