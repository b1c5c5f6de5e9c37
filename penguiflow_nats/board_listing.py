"""Lists the tasks of an owner, newest change first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from penguiflow.remote_models import RemoteTaskState
from penguiflow.serving.board import UnknownOrder
from penguiflow.serving.models import TaskPage, TaskQuery, TaskSheet
from penguiflow_nats.board_index import BoardIndex, Indexed
from penguiflow_nats.board_reading import BoardReader
from penguiflow_nats.call_wire import ENDS

_AT_ONCE = 32
"""Tasks that are read at once."""


async def list_tasks(
    index: BoardIndex, reader: BoardReader, owner: str, query: TaskQuery
) -> TaskPage:
    """A page of tasks. Raises ValueError for a token of none.

    A page's token is the place of its last entry, so what changes meanwhile moves to the front and
    repeats nothing. Filters are judged by the tasks themselves; an entry only rules out what is
    over in another state. To count what matches a filter, all of it has to be read.
    """
    before = query.place
    found: list[tuple[int, TaskSheet]] = []
    matching = 0
    start = None if query.is_filtered else before
    async with aclosing(_matching(index, reader, owner, query, before=start)) as sheets:
        async for sequence, sheet in sheets:
            matching += 1
            if before is None or sequence < before:
                found.append((sequence, sheet))
            if not query.is_filtered and len(found) > query.page_size:
                break
    total = matching if query.is_filtered else await index.count(owner, context=query.context_id)
    page, more = found[: query.page_size], len(found) > query.page_size
    return TaskPage(
        sheets=tuple(sheet for _, sheet in page),
        next_token=str(page[-1][0]) if more else "",
        total=total,
    )


async def _matching(
    index: BoardIndex,
    reader: BoardReader,
    owner: str,
    query: TaskQuery,
    *,
    before: int | None,
) -> AsyncGenerator[tuple[int, TaskSheet], None]:
    async with aclosing(
        index.newest_first(owner, context=query.context_id, before=before)
    ) as parts:
        async for part in parts:
            wanted = [each for each in part if _may_match(each, query)]
            for start in range(0, len(wanted), _AT_ONCE):
                group = wanted[start : start + _AT_ONCE]
                sheets = await asyncio.gather(
                    *(_read(reader, owner, each, query) for each in group)
                )
                for entry, sheet in zip(group, sheets, strict=True):
                    if sheet is not None and query.matches(sheet):
                        yield entry.sequence, sheet


async def _read(
    reader: BoardReader, owner: str, entry: Indexed, query: TaskQuery
) -> TaskSheet | None:
    try:
        return (await reader.read(entry.entry.task, owner=owner, pieces=query.pieces)).sheet
    except UnknownOrder:
        return None  # its retention is over


def _may_match(entry: Indexed, query: TaskQuery) -> bool:
    state = entry.entry.state
    return query.state is None or state not in ENDS or RemoteTaskState(state) is query.state
