"""The worker: runs one node for one delivery and settles it. It knows no broker.

A local flow and a durable flow use this code. They differ in the host: where outputs go, what a
commit is, and how an edge delivers again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Protocol

from penguiflow.clock import Clock
from penguiflow.controller import Steering, deadline_answer, hops_of, steer
from penguiflow.decide import DONE, Failure, Outcome, Settlement, decide, flow_error
from penguiflow.errors import FlowError
from penguiflow.events import Events, log_event
from penguiflow.invocation import Delivery, Invocation
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow.settle import settle
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.context import Context


class Host(Protocol):
    """What a worker needs from the flow that it works for."""

    registry: ModelRegistry | None
    clock: Clock
    events: Events

    def context(self, run: Invocation) -> Context:
        """The context that the node is given."""

    def loops(self, node: Node) -> bool:
        """Whether the node has an edge to itself."""

    def is_cancelled(self, trace_id: str | None) -> bool:
        """Whether the trace is cancelled."""

    def begin(self, run: Invocation) -> None:
        """The run starts; from now on a cancel of its trace reaches it."""

    async def end(self, run: Invocation) -> None:
        """The run is over, however it ended."""

    async def complete(self, run: Invocation, result: Any, steering: Steering | None) -> Outcome:
        """Commit the result and make it visible downstream.

        Returns:
            `DONE`, or how to settle instead (no room, input gone).
        """

    async def fail(self, run: Invocation, error: FlowError) -> Outcome:
        """Commit that the node failed for good."""

    async def expire(self, run: Invocation, answer: Message) -> Outcome:
        """Commit the answer of a message whose deadline has passed."""

    async def drop(self, run: Invocation) -> Outcome:
        """The trace was cancelled: nothing of this input goes on."""


_HAND_BACK = Outcome(Settlement.HAND_BACK)
_HAND_BACK_LATER = Outcome(Settlement.HAND_BACK, delay=1.0)


class Worker:
    """Runs the deliveries of one node."""

    __slots__ = ("_host", "node")

    def __init__(self, node: Node, host: Host) -> None:
        self.node = node
        self._host = host

    async def process(self, delivery: Delivery, task: asyncio.Task[Any]) -> None:
        """One attempt for one delivery, up to its settlement.

        `task` is the task that awaits this coroutine. A cancel of the trace ends the run and
        returns; a cancel of the task itself hands the delivery back and is raised on.
        """
        run = Invocation(self.node, delivery, task)
        self._host.begin(run)
        try:
            outcome = await self._outcome(run)
            run.close()
            await settle(delivery, outcome)
        finally:
            run.close()
            await self._host.end(run)

    async def _outcome(self, run: Invocation) -> Outcome:
        try:
            outcome = await self._run(run)
        except asyncio.CancelledError:
            if not run.cancelled:
                run.close()
                await settle(run.delivery, _HAND_BACK)
                raise
            await run.absorb_cancel()
            return await self._trace_cancelled(run)
        except Exception as exc:  # noqa: BLE001 - stated outcome: nothing is settled, try again
            failure = {"node_name": self.node.name, "exception": repr(exc)}
            log_event(logging.ERROR, "worker_handed_back", failure, exc)
            outcome = _HAND_BACK_LATER
        if run.cancelled:
            await run.absorb_cancel()
        return outcome

    async def _run(self, run: Invocation) -> Outcome:
        message = run.message
        host = self._host
        deadline = message.deadline_s if message is not None else None
        if message is not None and deadline is not None and host.clock.now() > deadline:
            return await self._expired(run, message)
        if host.is_cancelled(run.trace_id):
            await self._event("trace_cancel_drop", logging.INFO, run)
            return await host.drop(run)
        return await self._attempt(run, message)

    async def _attempt(self, run: Invocation, message: Message | None) -> Outcome:
        host, node = self._host, self.node
        value = run.delivery.value
        if host.events.wanted(logging.DEBUG):
            await self._event("node_start", logging.DEBUG, run, latency_ms=0.0)
        hops = hops_of(value)
        run.started = host.clock.monotonic()
        limit, by_deadline = self._limit(message)
        try:
            if limit is None:
                result = await node.invoke(value, host.context(run), registry=host.registry)
            else:
                async with asyncio.timeout(limit) as bound:
                    result = await node.invoke(value, host.context(run), registry=host.registry)
                if by_deadline and bound.expired() and message is not None:
                    return await self._expired(run, message)
        except asyncio.CancelledError as exc:
            if run.cancelled or run.task.cancelling():
                raise
            # Nobody cancelled this run: the exception leaked out of the node's own code.
            return await self._failed(run, exc, timed_out=False)
        except TimeoutError as exc:
            if by_deadline and message is not None and self._past(message):
                return await self._expired(run, message)
            return await self._failed(run, exc, timed_out=True)
        except Exception as exc:  # noqa: BLE001 - whatever a node raises is its attempt's failure
            return await self._failed(run, exc, timed_out=False)
        return await self._succeeded(run, result, hops)

    async def _succeeded(self, run: Invocation, result: Any, hops: int | None) -> Outcome:
        host, node = self._host, self.node
        steering: Steering | None = None
        if isinstance(result, Message):
            if result.deadline_s is not None and self._past(result):
                steering = Steering(to_egress=deadline_answer(result))
            else:
                loops = host.loops(node)
                steering = steer(result, hops, loops=loops, now=host.clock.now())
        try:
            outcome = await host.complete(run, result, steering)
        except Exception as exc:  # noqa: BLE001 - stated outcome: the node failed for good
            # Outputs that were made may be out already: another attempt would double them.
            return await self._failed(run, exc, timed_out=False, final=True)
        if outcome is DONE and host.events.wanted(logging.INFO):
            latency = self._latency(run)
            await self._event("node_success", logging.INFO, run, latency_ms=latency)
        return outcome

    async def _failed(
        self, run: Invocation, exc: BaseException, *, timed_out: bool, final: bool = False
    ) -> Outcome:
        attempt = run.delivery.attempt
        failure = Failure(exc, timed_out, self._latency(run))
        event, level = (
            ("node_timeout", logging.WARNING) if timed_out else ("node_error", logging.ERROR)
        )
        extra: dict[str, Any] = {"exception": repr(exc)}
        latency = failure.latency_ms
        await self._event(event, level, run, latency_ms=latency, exc=exc, extra=extra)
        share = random.random() if self.node.policy.jitter else 0.0  # noqa: S311 - spreads load
        retry = None
        if not final:
            retry = decide(failure, node=self.node, attempt=attempt, random_share=share)
        if retry is not None:
            extra = {"sleep_s": retry.delay, **extra}
            await self._event("node_retry", logging.INFO, run, attempt=attempt + 1, extra=extra)
            return retry
        error = flow_error(failure, node=self.node, attempt=attempt, trace_id=run.trace_id)
        extra = {**extra, "flow_error": error.to_payload()}
        await self._event(
            "node_failed", logging.ERROR, run, latency_ms=latency, exc=exc, extra=extra
        )
        return await self._host.fail(run, error)

    async def _expired(self, run: Invocation, message: Message) -> Outcome:
        extra = {"deadline_s": message.deadline_s}
        await self._event("deadline_skip", logging.INFO, run, attempt=0, extra=extra)
        return await self._host.expire(run, deadline_answer(message))

    async def _trace_cancelled(self, run: Invocation) -> Outcome:
        outcome = await self._host.drop(run)
        await self._event("node_trace_cancelled", logging.INFO, run, attempt=0)
        return outcome

    def _limit(self, message: Message | None) -> tuple[float | None, bool]:
        """Seconds the attempt may take, and whether the message's deadline sets them."""
        limit = self.node.policy.timeout_s
        if message is None or message.deadline_s is None:
            return limit, False
        left = max(0.0, message.deadline_s - self._host.clock.now())
        if limit is None or left < limit:
            return left, True
        return limit, False

    def _past(self, message: Message) -> bool:
        return message.deadline_s is not None and self._host.clock.now() >= message.deadline_s

    def _latency(self, run: Invocation) -> float:
        return (self._host.clock.monotonic() - run.started) * 1000.0

    async def _event(
        self,
        event_type: str,
        level: int,
        run: Invocation,
        *,
        attempt: int | None = None,
        latency_ms: float | None = None,
        exc: BaseException | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        await self._host.events.emit(
            event_type,
            level=level,
            source=self.node,
            trace_id=run.trace_id,
            attempt=run.delivery.attempt if attempt is None else attempt,
            latency_ms=latency_ms,
            exc=exc,
            extra=extra,
        )
