"""The remote bindings of an in-memory store. No asyncio, no IO."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from penguiflow.state.records import HeldBinding, RemoteBinding

_Key: TypeAlias = tuple[str | None, str, str | None, str]


def _key(binding: RemoteBinding) -> _Key:
    return (binding.tenant_id, binding.trace_id, binding.context_id, binding.task_id)


class BindingTable:
    """Bindings by tenant and key, in the order in which they were saved last."""

    def __init__(self) -> None:
        self._held: dict[_Key, HeldBinding] = {}
        self._revision = 0

    def save(self, binding: RemoteBinding, *, now: float) -> None:
        """Create or replace; an owner stays the owner."""
        before = self._held.pop(_key(binding), None)
        self._write(copy.deepcopy(binding), before.owner if before else None, now)

    def find(self, matches: Callable[[RemoteBinding], bool]) -> list[RemoteBinding]:
        """Copies of the bindings that match, the one saved last at the end."""
        found = (held.binding for held in self._held.values() if matches(held.binding))
        return [copy.deepcopy(binding) for binding in found]

    def held(
        self,
        *,
        trace_id: str | None,
        tenant_id: str | None,
        older_than: timedelta | None,
        include_terminal: bool,
        now: float,
    ) -> list[HeldBinding]:
        """As `SupportsBindingTransfer.find_bindings`."""
        latest = None if older_than is None else _time(now) - older_than
        found = [
            copy.deepcopy(held)
            for held in self._held.values()
            if trace_id in (None, held.binding.trace_id)
            and tenant_id in (None, held.binding.tenant_id)
            and (latest is None or held.updated_at < latest)
            and (include_terminal or not held.binding.is_terminal)
        ]
        return sorted(found, key=lambda held: held.updated_at)

    def mark_terminal(
        self,
        *,
        trace_id: str,
        context_id: str | None,
        task_id: str,
        tenant_id: str | None,
        now: float,
    ) -> None:
        """Note that the remote task has ended; without a tenant, for every tenant's binding."""
        for key, held in list(self._held.items()):
            same = key[1:] == (trace_id, context_id, task_id)
            if same and tenant_id in (None, key[0]) and not held.binding.is_terminal:
                self._write(replace(held.binding, is_terminal=True), held.owner, now)

    def take_over(
        self, binding: RemoteBinding, *, owner: str, expected_revision: int, now: float
    ) -> HeldBinding | None:
        """As `SupportsBindingTransfer.take_over_binding`."""
        held = self._held.get(_key(binding))
        if held is None or held.revision != expected_revision:
            return None
        return copy.deepcopy(self._write(held.binding, owner, now))

    def delete(self, binding: RemoteBinding, *, expected_revision: int | None) -> bool:
        """As `SupportsBindingTransfer.delete_binding`."""
        held = self._held.get(_key(binding))
        if held is None or expected_revision not in (None, held.revision):
            return False
        del self._held[_key(binding)]
        return True

    def delete_where(self, matches: Callable[[RemoteBinding], bool]) -> bool:
        """Remove every binding that matches; whether there was one."""
        gone = [key for key, held in self._held.items() if matches(held.binding)]
        for key in gone:
            del self._held[key]
        return bool(gone)

    def live_traces(self) -> Iterator[str]:
        """The traces whose remote task may still run."""
        return (
            held.binding.trace_id for held in self._held.values() if not held.binding.is_terminal
        )

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()

    def _write(self, binding: RemoteBinding, owner: str | None, now: float) -> HeldBinding:
        self._revision += 1
        held = HeldBinding(binding, self._revision, owner, _time(now))
        self._held[_key(binding)] = held
        return held


def _time(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
