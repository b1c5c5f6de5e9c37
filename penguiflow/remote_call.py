"""One call of a remote node: from the request to its result, or to the end of the remote task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penguiflow.async_tasks import outlast
from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.errors import TraceCancelled
from penguiflow.events import log_event
from penguiflow.remote_models import (
    RemoteCallRequest,
    RemoteTaskAuthRequired,
    RemoteTaskInputRequired,
)
from penguiflow.remote_report import CallReport
from penguiflow.remote_support import RemoteSupport
from penguiflow.remote_tasks import MintsTaskIds, RemoteTaskFailed
from penguiflow.state.models import RemoteBinding
from penguiflow.telemetry.calls import tell
from penguiflow.telemetry.instrument import CallInstrument

if TYPE_CHECKING:
    from penguiflow.context import Context, Targets
    from penguiflow.node import Node
    from penguiflow.remote import RemoteTransport

CANCEL_LIMIT = 5.0
"""Seconds that cancelling a remote task may take, whatever ends its call meanwhile."""

_PAUSED = (RemoteTaskInputRequired, RemoteTaskAuthRequired)


class RemoteCall:
    """A call with everything that has to be cleaned up after it.

    The task of the node waits; the transport works in a task of its own, so that a cancel finds
    it at any moment and what was learnt about the remote task is not lost with it.
    """

    def __init__(
        self,
        transport: RemoteTransport,
        request: RemoteCallRequest,
        context: Context,
        node: Node,
        *,
        streaming: bool,
        record_binding: bool,
        chunks_to: Targets = None,
    ) -> None:
        self._transport = transport
        self._request = request
        self._context = context
        self._node = node
        self._streaming = streaming
        self._record_binding = record_binding
        self._chunks_to = chunks_to
        self._report = CallReport(node, context, request, transport=transport, stream=streaming)
        self._trace_id = request.message.trace_id
        runtime = context.runtime
        self._cancelled: asyncio.Event = (
            runtime.ensure_trace_event(self._trace_id) if runtime is not None else asyncio.Event()
        )
        self._task_id = request.task_id
        self._context_id = request.context_id
        self._binding: RemoteBinding | None = None
        self._learned = asyncio.Event()
        self._cancel_reason = "trace_cancel"
        telemetry = getattr(runtime, "telemetry", None)
        self._probe: CallInstrument | None = None if telemetry is None else telemetry.calls()
        self._span: Any = None

    async def run(self) -> Any:
        """Call, and give the result.

        Raises:
            TraceCancelled: the trace was cancelled; so is the remote task.
            Exception: what the transport raised; the remote task is cancelled unless it has
                ended, or waits for input or credentials.
        """
        probe = self._probe
        if probe is None:
            return await self._run()
        self._span = probe.begin(self._request, streaming=self._streaming)
        ended: BaseException | None = None
        try:
            return await self._run()
        except BaseException as error:
            ended = error
            raise
        finally:
            probe.end(self._span, ended)

    async def _run(self) -> Any:
        if isinstance(self._context.runtime, RemoteSupport):
            self._context.runtime.uses(self._transport)
        await self._report.started()
        try:
            await self._mint()
            result = await self._work()
            await self._report.succeeded(result)
        except asyncio.CancelledError:
            reason = "trace_cancel" if self._cancelled.is_set() else "stopped"
            await self._cancel_remote(reason)
            raise
        except TraceCancelled:
            await self._cancel_remote(self._cancel_reason)
            raise
        except Exception as error:
            await self._report.failed(error)
            await self._end_after(error)
            raise
        await self._mark("completed")
        return result

    async def _mint(self) -> None:
        """Name the task and bind it before any work is asked for, when the transport can."""
        if self._task_id is None and isinstance(self._transport, MintsTaskIds):
            attempt = self._context.attempt
            self._request.task_id = await self._transport.mint_task_id(
                self._request, attempt=attempt
            )
            await self._learn(self._request.task_id, self._context_id)

    # The call itself

    async def _work(self) -> Any:
        if self._task_id is not None:
            self._stop_if_cancelled()
        call = asyncio.ensure_future(self._stream() if self._streaming else self._send())
        cancel = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait({call, cancel}, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
            raise TraceCancelled(self._trace_id)
        finally:
            cancel.cancel()
            if not call.done():
                await outlast(asyncio.ensure_future(self._abandon(call)))

    async def _abandon(self, call: asyncio.Future[Any]) -> None:
        """End the call here. A stream is first given a moment to name its task: without the
        name, that task could not be cancelled."""
        if self._streaming and self._task_id is None:
            learned = asyncio.ensure_future(self._learned.wait())
            await asyncio.wait(
                {call, learned}, timeout=CANCEL_LIMIT, return_when=asyncio.FIRST_COMPLETED
            )
            learned.cancel()
        call.cancel()
        await asyncio.wait({call}, timeout=CANCEL_LIMIT)
        if call.done() and not call.cancelled():
            call.exception()  # seen: the cancel is what counts

    async def _send(self) -> Any:
        answer = await self._transport.send(self._request)
        await self._learn(answer.task_id, answer.context_id)
        return answer.result

    async def _stream(self) -> Any:
        result: Any = None
        events = self._transport.stream(self._request)
        try:
            async for event in events:
                await self._learn(event.task_id, event.context_id)
                tell(self._probe, self._span, event)
                if event.text is not None:
                    await self._context.emit_chunk(
                        parent=self._request.message,
                        text=event.text,
                        done=event.done,
                        meta=event.meta,
                        to=self._chunks_to,
                    )
                    await self._report.text(event)
                if event.result is not None:
                    result = event.result
        finally:
            await _close(events)
        return result

    # Bindings

    async def _learn(self, task_id: str | None, context_id: str | None) -> None:
        """The remote task has a name: keep it, once."""
        known = (self._task_id, self._context_id)
        self._task_id = task_id or self._task_id
        self._context_id = context_id or self._context_id
        self._report.task_id, self._report.context_id = self._task_id, self._context_id
        if self._task_id is None:
            return
        if self._binding is None or known != (self._task_id, self._context_id):
            await self._bind(self._task_id)
        self._learned.set()
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            self._cancel_reason = "pre_cancelled"
            raise TraceCancelled(self._trace_id)

    async def _bind(self, task_id: str) -> None:
        message, meta = self._request.message, self._request.message.meta
        self._binding = RemoteBinding(
            trace_id=self._trace_id,
            context_id=self._context_id,
            task_id=task_id,
            agent_url=self._request.agent_url,
            router_session_id=meta.get("session_id"),
            remote_skill=self._request.skill,
            tenant_id=meta.get("tenant_id") or meta.get("tenant") or message.headers.tenant,
            user_id=meta.get("user_id"),
            last_remote_task_id=task_id,
            metadata={"source": "remote_node"},
        )
        if self._record_binding and self._context.runtime is not None:
            await self._context.runtime.save_remote_binding(self._binding)

    async def _mark(self, outcome: str) -> None:
        """Say in the binding that nothing is left to resume."""
        binding, runtime = self._binding, self._context.runtime
        if binding is None or not self._record_binding or not isinstance(runtime, RemoteSupport):
            return
        ended = replace(
            binding, is_terminal=True, metadata={**binding.metadata, "outcome": outcome}
        )
        try:
            await runtime.end_remote_binding(ended)
        except Exception as error:  # noqa: BLE001 - the call has its end; this is only a note
            failure = {"agent_url": binding.agent_url, "exception": repr(error)}
            log_event(logging.ERROR, "state_store_binding_failed", failure, error)

    # The end without a result

    async def _end_after(self, error: Exception) -> None:
        if isinstance(error, _PAUSED):
            return
        if isinstance(error, RemoteTaskFailed):
            await self._mark(error.snapshot.status.state.value)
            return
        await self._cancel_remote("error")

    async def _cancel_remote(self, reason: str) -> None:
        if self._task_id is not None:
            await outlast(asyncio.ensure_future(self._cancel(reason, self._task_id)))

    async def _cancel(self, reason: str, task_id: str) -> None:
        if self._probe is not None:
            self._probe.cancelled(self._span, reason)
        started = SYSTEM_CLOCK.monotonic()
        problem: Exception | None = None
        try:
            async with asyncio.timeout(CANCEL_LIMIT):
                await self._transport.cancel(agent_url=self._request.agent_url, task_id=task_id)
        except Exception as error:  # noqa: BLE001 - recorded; the call ends all the same
            problem = error
        milliseconds = (SYSTEM_CLOCK.monotonic() - started) * 1000.0
        if problem is not None:
            await self._report.cancel_failed(reason, problem, milliseconds)
            return
        await self._report.cancelled(reason, milliseconds)
        await self._mark("cancelled")


async def _close(events: AsyncIterator[Any]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
