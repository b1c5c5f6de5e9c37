"""A subflow called from a node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penguiflow.async_tasks import outlast
from penguiflow.errors import FlowError, TraceCancelled
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.flow import PenguiFlow
    from penguiflow.registry import ModelRegistry

PlaybookFactory = Callable[[], "tuple[PenguiFlow, ModelRegistry | None]"]


async def call_playbook(
    playbook: PlaybookFactory,
    parent_msg: Message,
    timeout: float | None = None,
    *,
    runtime: Any = None,
) -> Any:
    """Run the subflow on `parent_msg`; returns the payload of its first result.

    A cancel of the parent's trace cancels the subflow. The subflow is always stopped.

    Raises:
        TimeoutError: no result after `timeout` seconds.
        TraceCancelled: the parent's trace is, or was, cancelled.
        FlowError: a node of the subflow failed for good.
    """
    trace_id = parent_msg.trace_id
    cancelled = runtime.ensure_trace_event(trace_id) if runtime is not None else None
    if cancelled is not None and cancelled.is_set():
        raise TraceCancelled(trace_id)
    flow, registry = playbook()
    failures: asyncio.Queue[FlowError] = asyncio.Queue()
    flow.on_failure(failures.put_nowait)
    flow.telemetry = flow.telemetry or getattr(runtime, "telemetry", None)
    if runtime is not None and hasattr(runtime, "now"):
        flow.judge_deadlines_by(runtime.now)
    flow.run(registry=registry)
    try:
        async with asyncio.timeout(timeout):
            await flow.emit(parent_msg)
            result = await _first(flow, failures, cancelled, trace_id)
    finally:
        await outlast(asyncio.ensure_future(_end(flow, trace_id, cancelled)))
    return result.payload if isinstance(result, Message) else result


async def _first(
    flow: PenguiFlow,
    failures: asyncio.Queue[FlowError],
    cancelled: asyncio.Event | None,
    trace_id: str,
) -> Any:
    result = asyncio.ensure_future(flow.fetch())
    failure = asyncio.ensure_future(failures.get())
    waiting: set[asyncio.Future[Any]] = {result, failure}
    cancel = asyncio.ensure_future(cancelled.wait()) if cancelled is not None else None
    if cancel is not None:
        waiting.add(cancel)
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if cancel is not None and cancel.done():
            raise TraceCancelled(trace_id)
        if result.done():
            value = result.result()
            if isinstance(value, FlowError):
                raise value
            return value
        raise failure.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _end(flow: PenguiFlow, trace_id: str, cancelled: asyncio.Event | None) -> None:
    """Stop the subflow; a cancel of the parent reaches its nodes as one of their own trace."""
    if cancelled is not None and cancelled.is_set():
        await flow.cancel(trace_id)
    await flow.stop()


__all__ = ["PlaybookFactory", "call_playbook"]
