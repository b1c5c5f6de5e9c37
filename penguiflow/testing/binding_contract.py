"""The promises of a store that finds remote bindings and hands them over."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import Any

from penguiflow.state.records import RemoteBinding
from penguiflow.testing.contract import Contract, check, check_equal, fresh, only

_AGENT = "http://agent"


def binding(session_id: str, **changes: Any) -> RemoteBinding:
    """A binding of a conversation, with ids of its own."""
    fields: dict[str, Any] = {
        "trace_id": fresh("trace"),
        "context_id": "context",
        "task_id": fresh("task"),
        "agent_url": _AGENT,
        "router_session_id": session_id,
        "remote_skill": "skill",
        "metadata": {"source": ["test"]},
    }
    return RemoteBinding(**{**fields, **changes})


def key(each: RemoteBinding) -> dict[str, Any]:
    """The documented key of a binding."""
    return {"trace_id": each.trace_id, "context_id": each.context_id, "task_id": each.task_id}


class ConversationBindingsContract(Contract):
    """What `SupportsConversationBindings` promises on top of `StateStore`."""

    async def find(self, store: Any, session_id: str, **changes: Any) -> Any:
        """Look a binding up by its conversation."""
        wanted = {"router_session_id": session_id, "agent_url": _AGENT, "remote_skill": "skill"}
        return await store.find_binding(**{**wanted, **changes})

    async def test_newest_binding_of_a_conversation_is_found(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            older, newer = binding(session_id), binding(session_id)
            await store.save_remote_binding(older)
            await store.save_remote_binding(newer)
            check_equal(await self.find(store, session_id), newer, "the newest one")

    async def test_unknown_conversation_has_no_binding(self) -> None:
        async with self.open_store() as store:
            await store.save_remote_binding(binding(fresh("session")))
            check_equal(await self.find(store, fresh("session")), None, "another conversation")

    async def test_agent_and_skill_must_match(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            await store.save_remote_binding(binding(session_id))
            for changes in ({"agent_url": "http://other"}, {"remote_skill": "other"}):
                found = await self.find(store, session_id, **changes)
                check_equal(found, None, f"another agent or skill: {changes}")

    async def test_none_matches_only_none(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            await store.save_remote_binding(binding(session_id, tenant_id="one", user_id="user"))
            check_equal(await self.find(store, session_id), None, "None is no wildcard")
            found = await self.find(store, session_id, tenant_id="two", user_id="user")
            check_equal(found, None, "another tenant's binding is not there")
            found = await self.find(store, session_id, tenant_id="one", user_id="user")
            check(found is not None, "the tenant's own binding is there")

    async def test_terminal_binding_is_listed_but_not_found(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            older, newer = binding(session_id), binding(session_id)
            await store.save_remote_binding(older)
            await store.save_remote_binding(newer)
            await store.mark_binding_terminal(**key(newer))
            check_equal(await self.find(store, session_id), older, "the newest that still runs")
            listed = await store.list_bindings(router_session_id=session_id)
            check_equal([each.is_terminal for each in listed], [False, True], "both, oldest first")

    async def test_marking_an_unknown_binding_is_harmless(self) -> None:
        async with self.open_store() as store:
            result = await store.mark_binding_terminal(**key(binding(fresh("session"))))
            check_equal(result, None, "nothing happens")

    async def test_saving_a_binding_again_replaces_it(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            first = binding(session_id)
            await store.save_remote_binding(first)
            again = binding(session_id, **key(first), last_remote_task_id="later")
            await store.save_remote_binding(again)
            listed = await store.list_bindings(router_session_id=session_id)
            check_equal(list(listed), [again], "one binding per key")

    async def test_changing_what_was_saved_or_found_changes_nothing_stored(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = binding(session_id)
            await store.save_remote_binding(saved)
            saved.metadata["source"].append("changed")
            found = await self.find(store, session_id)
            check(found is not None, "the binding is there")
            check_equal(found.metadata, {"source": ["test"]}, "the store keeps a copy")
            found.metadata["source"].append("changed")
            again = only(await store.list_bindings(router_session_id=session_id), "one binding")
            check_equal(again.metadata, {"source": ["test"]}, "the store gives a copy")


class BindingTransferContract(Contract):
    """What `SupportsBindingTransfer` promises on top of `StateStore`."""

    async def test_bindings_are_found_by_trace(self) -> None:
        async with self.open_store() as store:
            saved, other = binding("s"), binding("s")
            await store.save_remote_binding(saved)
            await store.save_remote_binding(other)
            found = await store.find_bindings(trace_id=saved.trace_id)
            check_equal([each.binding for each in found], [saved], "only of the trace")
            check_equal(found[0].owner, None, "nobody took it over yet")
            check_equal(found[0].updated_at.tzinfo, UTC, "times are aware, in UTC")

    async def test_bindings_are_found_by_tenant(self) -> None:
        async with self.open_store() as store:
            one, two = fresh("tenant"), fresh("tenant")
            await store.save_remote_binding(binding("s", tenant_id=one))
            await store.save_remote_binding(binding("s", tenant_id=two))
            found = [each.binding.tenant_id for each in await store.find_bindings(tenant_id=two)]
            check_equal(found, [two], "only of the tenant")

    async def test_fresh_binding_is_not_old(self) -> None:
        async with self.open_store() as store:
            saved = binding("s")
            await store.save_remote_binding(saved)
            found = await store.find_bindings(
                trace_id=saved.trace_id, older_than=timedelta(hours=1)
            )
            check_equal(list(found), [], "it was written a moment ago")

    async def test_terminal_bindings_are_found_only_on_request(self) -> None:
        async with self.open_store() as store:
            saved = binding("s", is_terminal=True)
            await store.save_remote_binding(saved)
            found = await store.find_bindings(trace_id=saved.trace_id)
            check_equal(list(found), [], "nothing is left to take over")
            found = await store.find_bindings(trace_id=saved.trace_id, include_terminal=True)
            check_equal([each.binding for each in found], [saved], "on request")

    async def test_tenants_with_equal_keys_have_bindings_of_their_own(self) -> None:
        async with self.open_store() as store:
            one = binding("s", tenant_id=fresh("tenant"))
            two = binding("s", **key(one), tenant_id=fresh("tenant"))
            await store.save_remote_binding(one)
            await store.save_remote_binding(two)
            found = await store.find_bindings(trace_id=one.trace_id)
            tenants = {each.binding.tenant_id for each in found}
            check_equal(
                tenants, {one.tenant_id, two.tenant_id}, "one tenant does not overwrite another's"
            )

    async def test_take_over_names_the_owner(self) -> None:
        async with self.open_store() as store:
            saved = binding("s")
            held = await self._saved(store, saved)
            taken = await store.take_over_binding(
                saved, owner="me", expected_revision=held.revision
            )
            check_equal((taken.owner, taken.binding), ("me", saved), "the new owner")
            found = only(await store.find_bindings(trace_id=saved.trace_id), "one binding")
            check_equal(found, taken, "the store says the same")
            check(found.revision != held.revision, "a take-over changes the revision")

    async def test_of_two_take_overs_one_succeeds(self) -> None:
        async with self.open_store() as store:
            saved = binding("s")
            revision = (await self._saved(store, saved)).revision
            results = await asyncio.gather(
                *(
                    store.take_over_binding(saved, owner=owner, expected_revision=revision)
                    for owner in ("one", "two", "three")
                )
            )
            winners = [each.owner for each in results if each is not None]
            check_equal(len(winners), 1, "one revision is good for one take-over")
            found = only(await store.find_bindings(trace_id=saved.trace_id), "one binding")
            check_equal([found.owner], winners, "the winner is the owner")

    async def test_former_owner_is_fenced(self) -> None:
        async with self.open_store() as store:
            saved = binding("s")
            before = await self._saved(store, saved)
            await store.take_over_binding(saved, owner="new", expected_revision=before.revision)
            late = await store.take_over_binding(
                saved, owner="old", expected_revision=before.revision
            )
            check_equal(late, None, "its take-over is refused")
            late = await store.delete_binding(saved, expected_revision=before.revision)
            check_equal(late, False, "its delete is refused")

    async def test_saving_a_binding_keeps_its_owner_and_changes_its_revision(self) -> None:
        async with self.open_store() as store:
            saved = binding("s")
            held = await self._saved(store, saved)
            taken = await store.take_over_binding(
                saved, owner="me", expected_revision=held.revision
            )
            again = await self._saved(store, saved)
            check_equal(again.owner, "me", "the owner stays")
            check(again.revision != taken.revision, "every write changes the revision")

    async def test_unknown_binding_cannot_be_taken_or_deleted(self) -> None:
        async with self.open_store() as store:
            unknown = binding("s")
            taken = await store.take_over_binding(unknown, owner="me", expected_revision=1)
            check_equal(taken, None, "there is nothing to take over")
            check_equal(await store.delete_binding(unknown), False, "there is nothing to delete")

    async def test_another_tenants_binding_cannot_be_taken_or_deleted(self) -> None:
        async with self.open_store() as store:
            saved = binding("s", tenant_id=fresh("tenant"))
            revision = (await self._saved(store, saved)).revision
            foreign = binding("s", **key(saved), tenant_id=fresh("tenant"))
            taken = await store.take_over_binding(foreign, owner="me", expected_revision=revision)
            check_equal(taken, None, "it is not there for another tenant")
            check_equal(await store.delete_binding(foreign), False, "nor can it be deleted")

    async def test_deleted_binding_is_gone(self) -> None:
        async with self.open_store() as store:
            saved, kept = binding("s"), binding("s")
            await store.save_remote_binding(kept)
            held = await self._saved(store, saved)
            deleted = await store.delete_binding(saved, expected_revision=held.revision)
            check_equal(deleted, True, "it was there")
            found = await store.find_bindings(trace_id=saved.trace_id, include_terminal=True)
            check_equal(list(found), [], "it is gone")
            check_equal(len(await store.find_bindings(trace_id=kept.trace_id)), 1, "others stay")

    async def _saved(self, store: Any, each: RemoteBinding) -> Any:
        await store.save_remote_binding(each)
        return only(await store.find_bindings(trace_id=each.trace_id), "one binding")
