"""The sweeper: lets a state store apply its retention now and then, for as long as workers run."""

from __future__ import annotations

import asyncio
import logging
import random

from penguiflow.async_tasks import end_tasks
from penguiflow.clock import Clock
from penguiflow.events import log_event
from penguiflow.state.protocols import SupportsSweep


class Sweeper:
    """Calls `sweep` of a store. Every process may have one: a sweep is harmless beside another.

    Args:
        store: What to sweep.
        interval: Seconds between two sweeps; a quarter more or less, so that processes that were
            started together do not go on together.
    """

    def __init__(self, store: SupportsSweep, *, clock: Clock, interval: float) -> None:
        self._store = store
        self._clock = clock
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first sweep comes after an interval."""
        self._task = asyncio.create_task(self._run(), name="penguiflow:sweeper")

    async def stop(self) -> None:
        """End; a sweep that is under way is broken off, and goes on with the next. Idempotent."""
        await end_tasks(self._task)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._interval * (0.75 + random.random() / 2))  # noqa: S311
            try:
                await self._store.sweep()
            except Exception as error:  # noqa: BLE001 - any store's: told, and done by the next sweep
                failure = {"exception": repr(error)}
                log_event(logging.ERROR, "state_store_sweep_failed", failure, error)


__all__ = ["Sweeper"]
