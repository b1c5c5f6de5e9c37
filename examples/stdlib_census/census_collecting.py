"""The client's side: submits the packages and collects what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from census_models import Package, PackageReport
from census_names import TENANT

from penguiflow.durable.client import DurableClient
from penguiflow.errors import FlowError, TraceCancelled
from penguiflow.types import Headers, Message

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
    client: DurableClient, packages: Sequence[Package], *, until: Callable[[float], Awaitable[None]]
) -> Collected:
    """Submit all packages, one trace for each, and wait for their reports.

    Args:
        client: The client of the flow.
        packages: What to submit, in this order.
        until: Waits until the part of the files that it is given may be submitted.
    """
    collected = Collected()
    files, submitted = sum(len(package.files) for package in packages) or 1, 0
    room = _Room(WINDOW)
    async with asyncio.TaskGroup() as group:
        for package in packages:
            await until(submitted / files)
            await room.wait()
            message = Message(payload=package, headers=Headers(tenant=TENANT))
            trace = await client.emit(message)
            size = len(package.files)
            submitted += size
            room.take(size)
            fetching = group.create_task(_fetch(client, trace, package, collected))
            fetching.add_done_callback(lambda _, size=size: room.give(size))
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

    def give(self, amount: int) -> None:
        """It is over."""
        self._left += amount
        if self._left > 0:
            self._free.set()


async def _fetch(client: DurableClient, trace: str, package: Package, collected: Collected) -> None:
    try:
        result = await client.fetch(trace_id=trace)
    except (FlowError, TraceCancelled, LookupError) as error:
        collected.problems.append(f"no report on {package.name} (trace {trace}): {error}")
    else:
        collected.reports.append(PackageReport.model_validate(result.payload))
