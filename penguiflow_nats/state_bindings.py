"""Remote bindings of a state store: found, handed over, marked, swept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from penguiflow.state.protocols import SupportsBindingTransfer, SupportsConversationBindings
from penguiflow.state.records import HeldBinding, RemoteBinding
from penguiflow_nats import state_keys as keys
from penguiflow_nats.kv_bucket import Entry
from penguiflow_nats.state_codec import pack, unpack
from penguiflow_nats.state_part import StatePart


class StateBindings(StatePart, SupportsConversationBindings, SupportsBindingTransfer):
    """Bindings, each under its trace, tenant, context and task.

    A second key leads from conversation, agent and newest remote task to the binding. It is only a
    way: what counts is the binding, which is compared with what was asked for. Every method raises
    `NatsError` when it is not confirmed.
    """

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Create or replace the binding; an owner stays the owner.

        Raises:
            ForeignTenant: It belongs to another tenant than the store.
        """
        self._room.check_tenant(binding.tenant_id)
        await self._change(keys.binding_suffix(binding), lambda before: _with(before, binding))

    async def _change(
        self,
        suffix: str,
        change: Callable[[HeldBinding | None], HeldBinding | None],
        entry: Entry | None = None,
    ) -> None:
        """Write what the change makes of the binding, until nobody came in between.

        `entry` is what is there, as far as known: a wrong guess costs another round.
        """
        kv = await self._room.open()
        ttl = self._room.retention.bindings
        key = keys.binding(suffix)
        while True:
            held, revision = (None, 0) if entry is None else (_held(entry), entry.revision)
            wanted = change(held)
            if wanted is None:
                return
            value = _packed(wanted)
            if revision:
                written = await kv.update(key, value, revision, ttl=ttl)
            else:
                # The place first: a place that leads nowhere is harmless.
                await self._room.once(keys.binding_place(wanted.binding), b"", ttl=ttl)
                written = await kv.create(key, value, ttl=ttl)
            if written is not None:
                if revision:
                    await self._room.once(keys.binding_place(wanted.binding), b"", ttl=ttl)
                return
            entry = await kv.get(key)

    # Finding

    async def find_binding(
        self,
        *,
        router_session_id: str,
        agent_url: str,
        remote_skill: str | None,
        tenant_id: str | None = None,
        user_id: str | None = None,
    ) -> RemoteBinding | None:
        """The newest binding of a conversation that is not terminal. None matches only None."""
        wanted = (router_session_id, agent_url, remote_skill, tenant_id, user_id)
        found = await self._at(keys.binding_places(router_session_id, agent_url))
        for held in reversed(found):
            each = held.binding
            has = (each.router_session_id, each.agent_url, each.remote_skill)
            if not each.is_terminal and wanted == (*has, each.tenant_id, each.user_id):
                return each
        return None

    async def list_bindings(self, *, router_session_id: str) -> list[RemoteBinding]:
        """All bindings of a conversation, oldest first."""
        found = await self._at(keys.binding_places(router_session_id))
        return [
            held.binding for held in found if held.binding.router_session_id == router_session_id
        ]

    async def find_bindings_of_agent(
        self, agent_url: str, *, include_terminal: bool = False
    ) -> list[HeldBinding]:
        """The bindings of an agent, the one untouched for longest first."""
        found = await self._at(keys.binding_places(None, agent_url))
        return [
            held
            for held in found
            if held.binding.agent_url == agent_url
            and (include_terminal or not held.binding.is_terminal)
        ]

    async def find_bindings_of_task(self, remote_task_id: str) -> list[HeldBinding]:
        """The bindings whose task, or newest remote task, has this id; terminal ones too."""
        kv = await self._room.open()
        places = await kv.keys(keys.binding_places(task_id=remote_task_id))
        own = await kv.keys(keys.bindings(task_id=remote_task_id))
        suffixes = {keys.suffix_of_place(place) for place in places}
        suffixes |= {key.split(".", 1)[1] for key in own}
        found = await self._of(suffixes)
        return [
            held
            for held in found
            if remote_task_id in (held.binding.task_id, held.binding.last_remote_task_id)
        ]

    async def find_bindings(
        self,
        *,
        trace_id: str | None = None,
        tenant_id: str | None = None,
        older_than: timedelta | None = None,
        include_terminal: bool = False,
    ) -> list[HeldBinding]:
        """The bindings that match, the one untouched for longest first. By the server's clock."""
        kv = await self._room.open()
        found = await kv.read([keys.bindings(trace_id=trace_id, tenant_id=tenant_id)])
        held = [_held(entry) for entry in found]
        if older_than is not None:
            latest = datetime.fromtimestamp(await self._room.server_time(), UTC) - older_than
            held = [each for each in held if each.updated_at < latest]
        return [each for each in held if include_terminal or not each.binding.is_terminal]

    async def _at(self, places: str) -> list[HeldBinding]:
        kv = await self._room.open()
        return await self._of({keys.suffix_of_place(key) for key in await kv.keys(places)})

    async def _of(self, suffixes: Iterable[str]) -> list[HeldBinding]:
        filters = [keys.binding(suffix) for suffix in suffixes]
        if not filters:
            return []
        return [_held(entry) for entry in await self._room.kv.read(filters)]

    # Changing

    async def mark_binding_terminal(
        self,
        *,
        trace_id: str,
        context_id: str | None,
        task_id: str,
        tenant_id: str | None = None,
    ) -> None:
        """Note that the remote task has ended; without a tenant, for every tenant's binding."""
        kv = await self._room.open()
        wanted = keys.bindings(
            trace_id=trace_id, tenant_id=tenant_id, context=keys.part(context_id), task_id=task_id
        )
        for entry in await kv.read([wanted]):
            await self._change(entry.key.split(".", 1)[1], _terminal, entry)

    async def take_over_binding(
        self, binding: RemoteBinding, *, owner: str, expected_revision: int
    ) -> HeldBinding | None:
        """Become the owner, if the binding still has this revision; else None."""
        kv = await self._room.open()
        key = keys.binding(keys.binding_suffix(binding))
        entry = await kv.get(key)
        if entry is None or entry.revision != expected_revision:
            return None
        taken = replace(_held(entry), owner=owner)
        ttl = self._room.retention.bindings
        revision = await kv.update(key, _packed(taken), expected_revision, ttl=ttl)
        if revision is None:
            return None
        now = await kv.get(key)
        return _held(now) if now is not None and now.revision == revision else None

    async def delete_binding(
        self, binding: RemoteBinding, *, expected_revision: int | None = None
    ) -> bool:
        """Remove the binding; whether this call did, and at the expected revision if one is
        given."""
        kv = await self._room.open()
        suffix = keys.binding_suffix(binding)
        while True:
            entry = await kv.get(keys.binding(suffix))
            if entry is None or expected_revision not in (None, entry.revision):
                return False
            if await kv.delete(entry.key, revision=entry.revision):
                await kv.purge(keys.places_of(suffix))
                return True

    async def sweep_bindings(self, *, older_than: timedelta) -> list[RemoteBinding]:
        """Mark the bindings terminal that nobody has written for this long; gives them.

        A binding that is written or taken over meanwhile is left alone.
        """
        kv = await self._room.open()
        swept = []
        for held in await self.find_bindings(older_than=older_than):
            ended = replace(held, binding=replace(held.binding, is_terminal=True))
            key = keys.binding(keys.binding_suffix(held.binding))
            ttl = self._room.retention.bindings
            if await kv.update(key, _packed(ended), held.revision, ttl=ttl) is not None:
                swept.append(ended.binding)
        return swept


def _packed(held: HeldBinding) -> bytes:
    return pack({"binding": asdict(held.binding), "owner": held.owner})


def _held(entry: Entry) -> HeldBinding:
    value: dict[str, Any] = unpack(entry.value)
    updated_at = datetime.fromtimestamp(entry.stored_at, UTC)
    return HeldBinding(
        RemoteBinding(**value["binding"]), entry.revision, value["owner"], updated_at
    )


def _with(before: HeldBinding | None, binding: RemoteBinding) -> HeldBinding:
    owner = None if before is None else before.owner
    return HeldBinding(binding, 0, owner, datetime.fromtimestamp(0, UTC))


def _terminal(held: HeldBinding | None) -> HeldBinding | None:
    if held is None or held.binding.is_terminal:
        return None
    return replace(held, binding=replace(held.binding, is_terminal=True))


__all__ = ["StateBindings"]
