"""What a transport tells an instrument of a task that it follows."""

from __future__ import annotations

from penguiflow.durable.wire_errors import WireError
from penguiflow.remote_models import RemoteCallRequest
from penguiflow.types import Headers, Message
from penguiflow_nats.call import CallSite
from penguiflow_nats.call_subjects import task_token
from penguiflow_nats.call_wire import CallRequest, read_request
from penguiflow_nats.persist import persist

_GONE = "unknown"
"""The skill of a task whose request is not there any more."""


async def followed(
    site: CallSite, agent: str, task_id: str, *, agent_url: str
) -> RemoteCallRequest:
    """The call whose task is followed, as far as a span shows it: skill, trace and trace context.

    It is asked of the server, so only where something observes the call.

    Raises:
        NatsError: the server is away for too long.
    """
    subject = site.names.request(agent, task_token(task_id))
    found = await persist(
        site.jetstream.connection,
        lambda: site.jetstream.get_last(site.names.calls_stream, subject),
        limit=site.unreachable,
    )
    call = None if found is None else _read(found.data)
    trace_id = "" if call is None else call.message.trace_id or ""
    message = Message(payload=None, headers=Headers(tenant=site.names.tenant), trace_id=trace_id)
    return RemoteCallRequest(
        message=message,
        skill=_GONE if call is None else call.skill,
        agent_url=agent_url,
        task_id=task_id,
        traceparent=None if call is None else call.traceparent,
        tracestate=None if call is None else call.tracestate,
    )


def _read(data: bytes) -> CallRequest | None:
    try:
        return read_request(data)
    except WireError:
        return None  # rubbish, which its agent refuses


__all__ = ["followed"]
