"""A flow in this process as the handler of a skill."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from penguiflow.errors import FlowError
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.telemetry.joined import joined
from penguiflow.types import Message, StreamChunk
from penguiflow_nats.agent_skills import Chunk, Emit


class FlowHandler:
    """Answers calls by a flow. Each call is a trace of its own in it, called as the task is.

    A flow that runs already is used as it is and left running.
    """

    def __init__(self, flow: PenguiFlow, registry: ModelRegistry | None = None) -> None:
        self._flow = flow
        self._registry = registry
        self._started = False
        self._failures: dict[str, asyncio.Future[Any]] = {}
        flow.on_failure(self._failed)

    def start(self) -> None:
        """Run the flow unless it runs. Raises RTE when nodes are missing in the registry."""
        if self._registry is not None:
            self._flow.check_registry(self._registry)
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

    async def answer(self, message: Message, task: str, emit: Emit) -> Any:
        """The payload of the flow's first result; its chunks go to `emit`.

        Raises:
            FlowError: a node failed for good.
        """
        inside = message.model_copy(update={"trace_id": task})
        with self._listening(task) as failure:
            try:
                with joined():  # the call goes on inside
                    await self._flow.emit(inside, trace_id=task)
                while True:
                    value = await self._next(task, failure)
                    payload = value.payload if isinstance(value, Message) else value
                    if not isinstance(payload, StreamChunk):
                        break
                    await emit(Chunk(payload.text, payload.done, payload.meta))
            except asyncio.CancelledError:
                with contextlib.suppress(RuntimeError):  # the flow was stopped meanwhile
                    await self._flow.cancel(task)
                raise
        if isinstance(payload, FlowError):
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
        try:
            await asyncio.wait({fetched, failure}, return_when=asyncio.FIRST_COMPLETED)
            return fetched.result() if fetched.done() else failure.result()
        finally:
            if not fetched.done():
                fetched.cancel()
                await asyncio.gather(fetched, return_exceptions=True)
