"""The tasks that work off one node's inbox in a local flow."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from penguiflow.floe import Inbox, Item
from penguiflow.node import Node
from penguiflow.waiters import wait_in
from penguiflow.worker import Worker

if TYPE_CHECKING:
    from penguiflow.local import LocalHost

_YIELD_EVERY = 64
"""Messages after which a loop lets others run, however fast its node is."""


class NodeLoop:
    """Works off an inbox with as many tasks as the node's concurrency.

    A task whose run waits for its own trace's reader is replaced by another one meanwhile, so
    that no trace blocks another. Messages of one trace are worked on one after the other; so are
    untraced ones, unless the node asks for concurrency.
    """

    def __init__(self, host: LocalHost, node: Node, inbox: Inbox) -> None:
        self.node = node
        self._host = host
        self._inbox = inbox
        self._concurrency = node.policy.concurrency or 1
        self._worker = Worker(node, host)
        self._tasks: set[asyncio.Task[None]] = set()
        self._active = 0
        """Tasks that are not parked; one more than the concurrency while a parked one is back."""
        self._parked: set[Item] = set()
        self._waiting: dict[Item, asyncio.TimerHandle] = {}
        self._running = 0

    @property
    def unfinished(self) -> int:
        """Messages that are being worked on, or are in back-off."""
        return self._running + len(self._waiting)

    def start(self) -> None:
        self._inbox.deliver_again = self.deliver_again
        for _ in range(self._concurrency):
            self._spawn()

    def _spawn(self) -> None:
        self._active += 1
        task = asyncio.create_task(self._serve(), name=f"penguiflow:{self.node.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel the tasks and wait for them; what was in hand is back on its edge."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for item in list(self._waiting):
            self._back_on_edge(item)
        await self._host.events.emit(
            "node_cancelled", level=logging.DEBUG, source=self.node, trace_id=None
        )

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of ours always runs in a task
        inbox, process, served = self._inbox, self._worker.process, 0
        while self._active <= self._concurrency:
            item = inbox.take()
            if item is None:
                await wait_in(inbox.workers)
                continue
            if self._concurrency > 1 and item.trace_id is not None:
                inbox.hold(item.trace_id)  # the other tasks pass over its trace
            self._running += 1
            try:
                await process(item, task)
            finally:
                self._running -= 1
                if self._concurrency > 1 or item in self._parked:
                    self._over(item)
            served += 1
            if served % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        self._active -= 1

    def _over(self, item: Item) -> None:
        parked = item in self._parked
        if parked:
            self._parked.remove(item)
            self._active += 1  # perhaps one task too many now: then this one ends
        if parked or item.trace_id is not None:
            self._inbox.free(item.trace_id)

    def park(self, item: Item) -> None:
        """The run waits for its own trace's reader: let another task serve the others."""
        if item not in self._parked:
            self._parked.add(item)
            if self._concurrency == 1 or item.trace_id is None:  # else it is on hold already
                self._inbox.hold(item.trace_id)
            self._active -= 1
            self._spawn()

    def deliver_again(self, item: Item, delay: float) -> None:
        """Put the item back on its edge after a while; its trace's later messages wait."""
        if delay <= 0:
            item.queue.put_back(item)
            return
        if self._keeps_order(item):
            self._inbox.hold(item.trace_id)
        self._waiting[item] = asyncio.get_running_loop().call_later(delay, self._back_on_edge, item)

    def _back_on_edge(self, item: Item) -> None:
        self._waiting.pop(item).cancel()
        item.queue.put_back(item)
        if self._keeps_order(item):
            self._inbox.free(item.trace_id)

    def drop_waiting(self, trace_id: str) -> int:
        """Forget what of the trace is in back-off; returns how many."""
        dropped = [item for item in self._waiting if item.trace_id == trace_id]
        for item in dropped:
            self._waiting.pop(item).cancel()
            self._inbox.free(trace_id)
        return len(dropped)

    def _keeps_order(self, item: Item) -> bool:
        """Whether later messages wait for this one: those of its trace do, untraced ones do
        unless the node asks for concurrency."""
        return item.trace_id is not None or self._concurrency == 1
