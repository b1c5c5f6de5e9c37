"""Operations as an instrument sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from a2a.server.context import ServerCallContext
from a2a.utils.errors import A2AError, InternalError

from penguiflow.telemetry.instrument import ServiceInstrument
from penguiflow_a2a.caller import BINDING, HEADERS, TRACEPARENT

SYSTEM = "a2a"
_PREFIX = "lf.a2a.v1.A2AService/"
_NAMES = {"on_message_send": "SendMessage", "on_message_send_stream": "SendStreamingMessage"}


def operation_name(method: str) -> str:
    """The operation behind a method of the SDK's handler, as the protocol's service names it."""
    plain = method.removeprefix("on_").replace("_", " ").title().replace(" ", "")
    return _PREFIX + _NAMES.get(method, plain)


@contextmanager
def observed(
    probe: ServiceInstrument | None, operation: str, context: ServerCallContext, *, streaming: bool
) -> Iterator[None]:
    """Observe an operation for as long as the block runs; what it orders goes on from its span."""
    if probe is None:
        yield
        return
    headers = context.state.get(HEADERS, {})
    span = probe.begin(
        operation,
        binding=context.state.get(BINDING, ""),
        streaming=streaming,
        traceparent=headers.get("traceparent"),
        tracestate=headers.get("tracestate"),
    )
    ended: BaseException | None = None
    try:
        own = probe.traceparent(span)
        if own is not None:
            context.state[TRACEPARENT] = own
        yield
    except BaseException as error:
        ended = error
        raise
    finally:
        refused = isinstance(ended, A2AError) and not isinstance(ended, InternalError)
        probe.end(span, ended, refused=refused)


__all__ = ["SYSTEM", "observed", "operation_name"]
