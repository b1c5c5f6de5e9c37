"""The tasks that work off one node's inbox in a local flow."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from penguiflow.floe import Floe, Inbox, Item
from penguiflow.invocation import Invocation
from penguiflow.node import Node
from penguiflow.worker import Worker

if TYPE_CHECKING:
    from penguiflow.local import LocalHost

_YIELD_EVERY = 64
"""Messages after which a loop lets others run, however fast its node is."""


class LocalDelivery:
    """A message taken from a local edge."""

    __slots__ = ("_floe", "_item", "_loop", "attempt", "trace_id", "value")

    def __init__(self, loop: NodeLoop, floe: Floe, item: Item) -> None:
        self._loop = loop
        self._floe = floe
        self._item = item
        self.value = item.value
        self.trace_id = item.trace_id
        self.attempt = item.attempt

    @property
    def input_id(self) -> str:
        """The same for every attempt on this message."""
        if self._item.input_id is None:
            self._item.input_id = secrets.token_hex(16)
        return self._item.input_id

    async def ack(self) -> None:
        self._loop.host.traces.removed(self.trace_id)

    async def nak(self, delay: float = 0.0, *, attempted: bool = True) -> None:
        if attempted:
            self._item.attempt += 1
        self._loop.deliver_again(self._floe, self._item, delay)

    async def term(self, reason: str) -> None:
        await self.ack()


class NodeLoop:
    """Works off an inbox with as many tasks as the node's concurrency.

    A task whose run waits for its own trace's reader is replaced by another one meanwhile, so
    that no trace blocks another. Messages of one trace are worked on one after the other.
    """

    def __init__(self, host: LocalHost, node: Node, inbox: Inbox) -> None:
        self.host = host
        self.node = node
        self.inbox = inbox
        self._concurrency = node.policy.concurrency or 1
        self._worker = Worker(node, host)
        self._tasks: set[asyncio.Task[None]] = set()
        self._active = 0
        self.running = 0
        """Runs that began and are not over."""
        self._waiting: dict[Item, tuple[Floe, asyncio.TimerHandle]] = {}

    def start(self) -> None:
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
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.host.events.emit(
                "node_cancelled", level=logging.DEBUG, source=self.node, trace_id=None
            )
        for item in list(self._waiting):
            self._back_on_edge(item)
        self._active = 0

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of ours always runs in a task
        served = 0
        while self._active <= self._concurrency:
            taken = self.inbox.take()
            if taken is None:
                await self.inbox.wait()
                continue
            floe, item = taken
            await self._worker.process(LocalDelivery(self, floe, item), task)
            served += 1
            if served % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        self._active -= 1

    def begin(self, run: Invocation) -> None:
        """A run starts."""
        self.running += 1
        if self._concurrency > 1:
            self.inbox.hold(run.trace_id)

    def end(self, run: Invocation) -> None:
        """A run is over."""
        self.running -= 1
        if run.parked:
            self._active += 1  # one task too many now: the next one to look ends
        if self._concurrency > 1 or run.parked:
            self.inbox.free(run.trace_id)

    def park(self, run: Invocation) -> None:
        """The run waits for its own trace's reader: let another task serve the others."""
        if not run.parked:
            run.parked = True
            if self._concurrency == 1:
                self.inbox.hold(run.trace_id)
            self._active -= 1
            self._spawn()

    def deliver_again(self, floe: Floe, item: Item, delay: float) -> None:
        """Put the item back on its edge after a while; its trace's later messages wait."""
        if delay <= 0:
            floe.queue.put_back(item)
            return
        self.inbox.hold(item.trace_id)
        timer = asyncio.get_running_loop().call_later(delay, self._back_on_edge, item)
        self._waiting[item] = (floe, timer)

    def _back_on_edge(self, item: Item) -> None:
        floe, timer = self._waiting.pop(item)
        timer.cancel()
        floe.queue.put_back(item)
        self.inbox.free(item.trace_id)

    def drop_waiting(self, trace_id: str) -> int:
        """Forget what of the trace is in back-off; returns how many."""
        dropped = [item for item in self._waiting if item.trace_id == trace_id]
        for item in dropped:
            _, timer = self._waiting.pop(item)
            timer.cancel()
            self.inbox.free(trace_id)
        return len(dropped)

    @property
    def waiting(self) -> int:
        """Messages in back-off."""
        return len(self._waiting)
