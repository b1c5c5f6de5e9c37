"""The worker: runs one node for one delivery and settles it. It knows no broker.

A local flow and a durable flow use this code. They differ in the host: where outputs go, what a
commit is, and how an edge delivers again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from penguiflow.clock import Clock
from penguiflow.controller import Steering, deadline_answer, hops_of, steer, steers
from penguiflow.decide import DONE, Failure, Outcome, Settlement, decide, flow_error
from penguiflow.errors import FlowError, TraceCancelled
from penguiflow.events import Events, log_event
from penguiflow.invocation import Delivery, Invocation
from penguiflow.isolated import isolated
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow.settle import settle
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.telemetry.instrument import NodeInstrument


class Host(Protocol):
    """What a worker needs from the flow that it works for."""

    registry: ModelRegistry | None
    clock: Clock
    shares_tasks: bool
    """Whether a task serves several runs, which must not see each other's context variables."""
    events: Events

    def context(self, run: Invocation) -> Context:
        """The context that the node is given."""

    def loops(self, node: Node) -> bool:
        """Whether the node has an edge to itself."""

    def probe(self, node: Node) -> NodeInstrument | None:
        """What the runs of the node are told to."""

    def origin(self, run: Invocation) -> Any:
        """The span that the input of the run comes from, when the delivery does not say."""

    def now(self) -> float:
        """Seconds since the epoch by the clock that deadlines are judged by."""

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

    __slots__ = ("_host", "_loops", "_probe", "node")

    def __init__(self, node: Node, host: Host) -> None:
        self.node: Node = node
        self._host = host
        self._loops = host.loops(node)
        self._probe = host.probe(node)

    async def process(self, delivery: Delivery, task: asyncio.Task[Any]) -> None:
        """One attempt for one delivery, up to its settlement.

        `task` is the task that awaits this coroutine. A cancel of the trace ends the run and
        returns; a cancel of the task itself hands the delivery back and is raised on.
        """
        run = Invocation(self.node, delivery, task)
        host, probe = self._host, self._probe
        outcome: Outcome | None = None
        host.begin(run)
        if probe is not None:
            delivery.span = probe.begin(delivery, host.origin(run))
        try:
            try:
                outcome = await self._run(run)
                if run.cancelled:
                    await run.absorb_cancel()
            except asyncio.CancelledError:
                outcome = await self._interrupted(run)
            except Exception as exc:  # noqa: BLE001 - stated outcome: nothing is settled, try again
                failure = {"node_name": self.node.name, "exception": repr(exc)}
                log_event(logging.ERROR, "worker_handed_back", failure, exc)
                outcome = _HAND_BACK_LATER
            run.close()
            await settle(delivery, outcome)
        finally:
            run.close()
            if probe is not None:
                probe.end(delivery.span, outcome)
            await host.end(run)
        if run.interrupted:
            raise asyncio.CancelledError

    async def _interrupted(self, run: Invocation) -> Outcome:
        """The run was cancelled: because of its trace, or because the worker is being stopped."""
        if not run.cancelled:
            run.close()
            run.interrupted = True
            return _HAND_BACK
        await run.absorb_cancel()
        return await self._trace_cancelled(run)

    def _run(self, run: Invocation) -> Coroutine[Any, Any, Outcome]:
        """What there is to do: an attempt, or an end without one."""
        host, value = self._host, run.delivery.value
        message = value if isinstance(value, Message) else None
        deadline = message.deadline_s if message is not None else None
        if message is not None and deadline is not None and host.now() > deadline:
            return self._expired(run, message)
        if host.is_cancelled(run.delivery.trace_id):
            return self._dropped(run)
        return self._attempt(run, message)

    async def _attempt(self, run: Invocation, message: Message | None) -> Outcome:
        host = self._host
        if host.events.wanted(logging.DEBUG):
            await self._event("node_start", logging.DEBUG, run, latency_ms=0.0)
        hops = hops_of(run.delivery.value)
        limit, by_deadline = self._limit(message)
        bound: asyncio.Timeout | None = None
        run.started = host.clock.monotonic()
        run.working = True
        try:
            work = self._invoke(run)
            if limit is None:
                result = await work
            else:
                async with asyncio.timeout(limit) as bound:
                    result = await work
                if by_deadline and message is not None and self._is_late(result, bound, message):
                    return await self._expired(run, message)
        except asyncio.CancelledError as exc:
            if run.cancelled or run.task.cancelling():
                raise
            # Nobody cancelled this run: the exception leaked out of the node's own code.
            return await self._failed(run, exc)
        except TimeoutError as exc:
            if by_deadline and message is not None and self._ran_out(bound, message):
                return await self._expired(run, message)
            return await self._failed(run, exc, timed_out=True)
        except Exception as exc:  # noqa: BLE001 - whatever a node raises is its attempt's failure
            return await self._failed(run, exc)
        if run.cancelled:  # the node held on in spite of it: nothing of its result goes on
            raise asyncio.CancelledError
        return await self._succeeded(run, result, hops)

    def _invoke(self, run: Invocation) -> Coroutine[Any, Any, Any]:
        host = self._host
        work = self.node.invoke(run.delivery.value, host.context(run), registry=host.registry)
        if self._probe is not None:
            work = self._probe.within(run.delivery.span, work)
        return isolated(work) if host.shares_tasks else work

    async def _succeeded(self, run: Invocation, result: Any, hops: int | None) -> Outcome:
        host = self._host
        run.working = False
        try:
            steering: Steering | None = None
            if isinstance(result, Message):
                if result.deadline_s is not None and self._past(result):
                    steering = Steering(to_egress=deadline_answer(result))
                elif steers(result):
                    steering = steer(result, hops, loops=self._loops)
            outcome = await host.complete(run, result, steering)
        except Exception as exc:  # noqa: BLE001 - stated outcome: the node failed for good
            # Outputs that were made may be out already: another attempt would double them.
            return await self._failed(run, exc, final=True)
        if outcome is DONE and host.events.wanted(logging.INFO):
            latency = self._latency(run)
            await self._event("node_success", logging.INFO, run, latency_ms=latency)
        return outcome

    async def _failed(
        self, run: Invocation, exc: BaseException, *, timed_out: bool = False, final: bool = False
    ) -> Outcome:
        run.working = False
        if run.cancelled:
            raise asyncio.CancelledError from exc
        if isinstance(exc, TraceCancelled) and self._host.is_cancelled(run.trace_id):
            return await self._trace_cancelled(run)
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
        run.working = False
        extra = {"deadline_s": message.deadline_s}
        await self._event("deadline_skip", logging.INFO, run, attempt=0, extra=extra)
        return await self._host.expire(run, deadline_answer(message))

    async def _dropped(self, run: Invocation) -> Outcome:
        await self._event("trace_cancel_drop", logging.INFO, run, attempt=0)
        return await self._host.drop(run)

    async def _trace_cancelled(self, run: Invocation) -> Outcome:
        run.working = False
        outcome = await self._host.drop(run)
        await self._event("node_trace_cancelled", logging.INFO, run, attempt=0)
        return outcome

    def _limit(self, message: Message | None) -> tuple[float | None, bool]:
        """Seconds the attempt may take, and whether the message's deadline sets them."""
        limit = self.node.policy.timeout_s
        if message is None or message.deadline_s is None:
            return limit, False
        left = max(0.0, message.deadline_s - self._host.now())
        if limit is None or left < limit:
            return left, True
        return limit, False

    def _is_late(self, result: Any, bound: asyncio.Timeout, message: Message) -> bool:
        """Whether a result came too late; a `Message` is judged by its own deadline."""
        if isinstance(result, Message):
            return False
        return bound.expired() or (result is not None and self._past(message))

    def _ran_out(self, bound: asyncio.Timeout | None, message: Message) -> bool:
        """Whether a run that the deadline bounds ended with its time, by either measure: how long
        it ran, which no clock disturbs, or what the clock says."""
        return (bound is not None and bound.expired()) or self._past(message)

    def _past(self, message: Message) -> bool:
        return message.deadline_s is not None and self._host.now() >= message.deadline_s

    def _latency(self, run: Invocation) -> float:
        return (self._host.clock.monotonic() - run.started) * 1000.0

    def _event(
        self,
        event_type: str,
        level: int,
        run: Invocation,
        *,
        attempt: int | None = None,
        latency_ms: float | None = None,
        exc: BaseException | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Coroutine[Any, Any, None]:
        if self._probe is not None:
            told = self._probe.event(run.delivery.span, event_type, exc, extra)
            extra = dict(told) if told is not None else None
        return self._host.events.emit(
            event_type,
            level=level,
            source=self.node,
            trace_id=run.trace_id,
            attempt=run.delivery.attempt if attempt is None else attempt,
            latency_ms=latency_ms,
            exc=exc,
            extra=extra,
        )
