"""The client's side: submits the packages and collects what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from census_models import Package, PackageReport
from census_names import TENANT

from penguiflow.durable.chunks import ChunkGap
from penguiflow.durable.client import DurableClient
from penguiflow.errors import FlowError, TraceCancelled
from penguiflow.types import Headers, Message, StreamChunk

WINDOW = 64
"""Files under way above which no other package is submitted. The log would take all of them at
once; but then a file's time would say nothing but how long the queue was."""


@dataclass(slots=True)
class Collected:
    """What came back."""

    reports: list[PackageReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Packages without a report, each as a line."""


async def collect(
    client: DurableClient,
    packages: Sequence[Package],
    *,
    until: Callable[[float], Awaitable[None]],
    hear: Callable[[str], None],
) -> Collected:
    """Submit all packages, one trace for each, and wait for their reports.

    Args:
        client: The client of the flow.
        packages: What to submit, in this order.
        until: Waits until the part of the files that it is given may be submitted.
        hear: Is given what the agent says about a package, so far, whenever it has said more.
    """
    collected = Collected()
    files, submitted = sum(len(package.files) for package in packages) or 1, 0
    room = _Room(WINDOW)
    async with asyncio.TaskGroup() as group:
        for package in packages:
            await until(submitted / files)
            await room.wait()
            size = len(package.files)
            submitted += size
            room.take(size)
            one = group.create_task(_one(client, package, collected, hear))
            one.add_done_callback(partial(room.give, size))
    return collected


class _Room:
    """How much more may be under way."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._free = asyncio.Event()
        self._free.set()

    async def wait(self) -> None:
        """Wait until there is any. What is taken then may be more than there was."""
        await self._free.wait()

    def take(self, amount: int) -> None:
        """Something is under way."""
        self._left -= amount
        if self._left <= 0:
            self._free.clear()

    def give(self, amount: int, _over: object) -> None:
        """Something is over; fit to be called by its task."""
        self._left += amount
        if self._left > 0:
            self._free.set()


async def _one(
    client: DurableClient, package: Package, collected: Collected, hear: Callable[[str], None]
) -> None:
    message = Message(payload=package, headers=Headers(tenant=TENANT))
    try:
        result = await _answer(client, message, hear)
    except (FlowError, TraceCancelled, LookupError) as error:
        collected.problems.append(f"no report on {package.name} ({message.trace_id}): {error}")
    else:
        collected.reports.append(PackageReport.model_validate(result.payload))


async def _answer(client: DurableClient, message: Message, hear: Callable[[str], None]) -> Message:
    """The result of one submission, and before it the words as they come."""
    said = ""
    result: Message | None = None
    try:
        async for piece in client.stream(message):
            if isinstance(piece, StreamChunk):
                # An agent that had to begin again says it all again.
                said = piece.text if piece.seq == 0 else said + piece.text
                hear(said)
            else:
                result = piece
    except ChunkGap:  # words are lost, the result is not
        result = await client.fetch(trace_id=message.trace_id)
    assert result is not None  # noqa: S101 - a stream ends with its result
    return result
