"""Lists of updates and steering events: bounded, idempotent, read from a cursor."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


class _OfTask(Protocol):
    @property
    def task_id(self) -> str: ...


T = TypeVar("T", bound=_OfTask)


def last_page(
    items: Iterable[T],
    id_of: Callable[[T], str],
    *,
    task_id: str | None,
    since_id: str | None,
    limit: int,
) -> list[T]:
    """The last `limit` items, oldest first.

    Args:
        items: Everything, oldest first.
        id_of: What identifies an item.
        task_id: Only the items of this task.
        since_id: Only what came after this item, of whatever task; ignored when unknown.
        limit: How many at most; zero or less gives none.
    """
    rows = list(items)
    if since_id is not None:
        seen = (place for place, row in enumerate(rows) if id_of(row) == since_id)
        rows = rows[next(seen, -1) + 1 :]
    if task_id is not None:
        rows = [row for row in rows if row.task_id == task_id]
    return rows[-limit:] if limit > 0 else []


class Ledger(Generic[T]):
    """Items by session, each once, the oldest of a session dropped beyond a limit.

    A limit of zero or less is none.
    """

    def __init__(self, max_per_session: int, id_of: Callable[[T], str]) -> None:
        self._limit = max_per_session
        self._id_of = id_of
        self._sessions: dict[str, OrderedDict[str, T]] = {}

    def add(self, session_id: str, item: T) -> None:
        """Append an item, unless it is there already."""
        items = self._sessions.setdefault(session_id, OrderedDict())
        items.setdefault(self._id_of(item), item)
        if 0 < self._limit < len(items):
            items.popitem(last=False)

    def page(
        self, session_id: str, *, task_id: str | None, since_id: str | None, limit: int
    ) -> list[T]:
        """The items themselves; arguments as of `last_page`."""
        items = self._sessions.get(session_id, OrderedDict[str, T]())
        return last_page(
            items.values(), self._id_of, task_id=task_id, since_id=since_id, limit=limit
        )

    def clear_session(self, session_id: str) -> None:
        """Forget a session."""
        self._sessions.pop(session_id, None)

    def clear(self) -> None:
        """Forget everything."""
        self._sessions.clear()
