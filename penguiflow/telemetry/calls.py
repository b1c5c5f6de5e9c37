"""Telling an instrument of a call to a remote agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from penguiflow.telemetry.instrument import CallInstrument, Span

if TYPE_CHECKING:
    from penguiflow.remote_models import (
        RemoteCallRequest,
        RemoteStreamEvent,
        RemoteTaskEvent,
    )


@contextmanager
def observed(
    probe: CallInstrument | None, request: RemoteCallRequest, *, streaming: bool
) -> Iterator[tuple[RemoteCallRequest, Span]]:
    """Observe a call for as long as the block runs.

    A request that carries a trace context is observed by whoever put it there.
    Yields the request to send, and the span.
    """
    if probe is None or request.traceparent is not None:
        yield request, None
        return
    request = replace(request)  # the caller's own stays as it is, for another call
    span, ended = probe.begin(request, streaming=streaming), None
    try:
        yield request, span
    except BaseException as error:
        ended = error
        raise
    finally:
        probe.end(span, ended)


@contextmanager
def following(
    probe: CallInstrument | None, call: RemoteCallRequest | None, *, attempt: int
) -> Iterator[Span]:
    """Observe the reading of a task's answer by somebody who did not wait for it until now.

    Args:
        probe: What is told.
        call: The call that made the task, with the trace context that it carried.
        attempt: Which attempt of the agent was read last, 0 for none.
    """
    if probe is None or call is None:
        yield None
        return
    span, ended = probe.begin(call, streaming=True), None
    probe.resumed(span, attempt)
    try:
        yield span
    except BaseException as error:
        ended = error
        raise
    finally:
        probe.end(span, ended)


def tell(
    probe: CallInstrument | None, span: Span, event: RemoteStreamEvent | RemoteTaskEvent
) -> None:
    """Tell of an event of a streamed answer, or of a task."""
    if probe is None or span is None:
        return
    if _restarts(event):
        epoch = (event.meta or {}).get("epoch")
        probe.resumed(span, epoch if isinstance(epoch, int) else 0)
    elif event.text is not None:
        probe.chunk(span, len(event.text))


def _restarts(event: RemoteStreamEvent | RemoteTaskEvent) -> bool:
    """Whether another replica begins anew. The meta of a piece of text is the agent's own."""
    if getattr(event, "restarted", False):
        return True
    changes = getattr(event, "kind", None) == "status"
    return changes and bool((event.meta or {}).get("restart"))


__all__ = ["following", "observed", "tell"]
