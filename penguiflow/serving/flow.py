"""A flow in this process as a handler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from penguiflow.errors import FlowError
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.serving.handling import AuthRequired, Emit, InputRequired, Rejected
from penguiflow.telemetry.instrument import Instrument
from penguiflow.telemetry.joined import joined
from penguiflow.types import Message, StreamChunk

_WORDS = (Rejected, AuthRequired, InputRequired)
"""What a node says by raising it."""


def _said(error: FlowError) -> Exception:
    """What a node meant by the exception that it failed with."""
    original = error.original_exc
    return original if isinstance(original, _WORDS) else error


class FlowHandler:
    """Answers calls by a flow. Each call is a trace of its own in it, called as the task is.

    A flow that runs already is used as it is and left running.

    Args:
        flow: The flow.
        registry: The models of nodes that validate.
        to: Where messages are emitted to; all ingress nodes by default.
        telemetry: Observes the flow, unless it has an instrument or runs already.
    """

    def __init__(
        self,
        flow: PenguiFlow,
        registry: ModelRegistry | None = None,
        *,
        to: Any = None,
        telemetry: Instrument | None = None,
    ) -> None:
        self._flow = flow
        self._to = to
        self._registry = registry
        self._telemetry = telemetry
        self._started = False
        self._failures: dict[str, asyncio.Future[Any]] = {}
        self._idle: dict[str, asyncio.Future[None]] = {}
        """Traces that wait for a result: is anything left that could give one?"""
        flow.on_failure(self._failed)
        flow.on_idle(self._ran_dry)

    def start(self) -> None:
        """Run the flow unless it runs. Raises RTE when nodes are missing in the registry."""
        if self._registry is not None:
            self._flow.check_registry(self._registry)
        if self._flow.telemetry is None:
            self._flow.telemetry = self._telemetry
        with contextlib.suppress(RuntimeError):  # it runs already
            self._flow.run(registry=self._registry)
            self._started = True

    async def stop(self) -> None:
        """Stop the flow if it was started here."""
        if self._started:
            self._started = False
            await self._flow.stop()

    def _failed(self, error: FlowError) -> None:
        failure = self._failures.get(error.trace_id or "")
        if failure is not None and not failure.done():
            failure.set_exception(error)

    def _ran_dry(self, trace_id: str) -> None:
        idle = self._idle.get(trace_id)
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def answer(self, message: Message, task: str, emit: Emit) -> Any:
        """The payload of the flow's first result, None when it ends without one; its chunks go to
        `emit`.

        Raises:
            Rejected, AuthRequired, InputRequired: a node raised or returned it.
            TraceCancelled: the trace was cancelled inside the flow.
            FlowError: a node failed for good.
        """
        inside = message.model_copy(update={"trace_id": task})
        with self._listening(task) as failure:
            try:
                with joined():  # the call goes on inside
                    await self._flow.emit(inside, self._to, trace_id=task)
                while True:
                    value = await self._next(task, failure)
                    payload = value.payload if isinstance(value, Message) else value
                    if not isinstance(payload, StreamChunk):
                        break
                    waiting = emit(payload.text, payload.done, payload.meta)
                    if waiting is not None:
                        await waiting
            except asyncio.CancelledError:
                with contextlib.suppress(RuntimeError):  # the flow was stopped meanwhile
                    await self._flow.cancel(task)
                raise
            except FlowError as error:
                raise _said(error) from error
        if isinstance(payload, FlowError):
            raise _said(payload)
        if isinstance(payload, _WORDS):
            raise payload
        return payload

    @contextlib.contextmanager
    def _listening(self, task: str) -> Iterator[asyncio.Future[Any]]:
        failure: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._failures[task] = failure
        try:
            yield failure
        finally:
            del self._failures[task]
            if failure.done():
                failure.exception()

    async def _next(self, task: str, failure: asyncio.Future[Any]) -> Any:
        fetched = asyncio.ensure_future(self._flow.fetch(trace_id=task))
        idle = self._idle[task] = asyncio.get_running_loop().create_future()
        try:
            ends: set[asyncio.Future[Any]] = {fetched, failure, idle}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if fetched.done():
                return fetched.result()
            return failure.result() if failure.done() else None
        finally:
            del self._idle[task]
            if not fetched.done():
                fetched.cancel()
                await asyncio.gather(fetched, return_exceptions=True)
