"""Telling an instrument of a call to a remote agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from penguiflow.telemetry.instrument import CallInstrument, Span

if TYPE_CHECKING:
    from penguiflow.remote_models import RemoteCallRequest, RemoteStreamEvent


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


def tell(probe: CallInstrument | None, span: Span, event: RemoteStreamEvent) -> None:
    """Tell of an event of a streamed answer."""
    if probe is None or span is None:
        return
    if getattr(event, "restarted", False):
        epoch = (event.meta or {}).get("epoch")
        probe.resumed(span, epoch if isinstance(epoch, int) else 0)
    elif event.text is not None:
        probe.chunk(span, len(event.text))


__all__ = ["observed", "tell"]
