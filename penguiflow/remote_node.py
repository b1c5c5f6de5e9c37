"""A node whose work is done by an agent elsewhere, through any `RemoteTransport`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.node import Node, NodePolicy
from penguiflow.remote_call import RemoteCall
from penguiflow.remote_guard import RemoteGuard
from penguiflow.remote_models import RemoteCallRequest
from penguiflow.telemetry.ids import current_traceparent
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.context import Context, Targets
    from penguiflow.remote import RemoteTransport


def RemoteNode(  # noqa: N802 - it reads as the node that it makes
    *,
    transport: RemoteTransport,
    skill: str,
    agent_url: str,
    name: str,
    agent_card: Mapping[str, Any] | None = None,
    policy: NodePolicy | None = None,
    streaming: bool = False,
    record_binding: bool = True,
    guard: RemoteGuard | None = None,
    chunks_to: Targets = None,
) -> Node:
    """A node that calls a skill of a remote agent.

    It takes a `Message` and gives the agent's result. When streaming, each text of the answer is
    a chunk of the message. A task that waits for input or credentials ends the call at once,
    whatever retries the policy has left: the next message with its id answers. Whatever else ends
    a call without a result (a timeout, a retry, a stop, a cancelled trace, an exception) cancels
    the remote task as well.

    Args:
        transport: Carries the calls.
        skill: What the agent shall do.
        agent_url: Where the agent is, in the transport's own form.
        name: Name of the node.
        agent_card: What is known of the agent, for transports that want it.
        policy: As of any node; its `timeout_s` and the message's deadline bound the call.
        streaming: Take the answer piece by piece.
        record_binding: Keep in the state store which remote task works for which trace.
        guard: Allowed addresses, circuit breaker, retry budget and number of calls at once; by
            default one of its own. Nodes that share one share its limits.
        chunks_to: Where the chunks go, as `to` of `ctx.emit_chunk`: by default where the result
            goes, so that the next nodes are given each of them as a message; `ROOKERY` for whoever
            follows the trace.

    Raises:
        AgentNotAllowed: the guard does not know the address.
    """
    guard = guard or RemoteGuard()
    guard.check(agent_url)
    remote = _Remote(
        transport=transport,
        skill=skill,
        agent_url=agent_url,
        agent_card=agent_card,
        streaming=streaming,
        record_binding=record_binding,
        guard=guard,
        chunks_to=chunks_to,
    )

    async def call(message: Any, ctx: Context) -> Any:
        return await remote.call(message, ctx, node)

    node = Node(call, name=name, policy=policy or NodePolicy())
    return node


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remote:
    """What a remote node calls, and how."""

    transport: RemoteTransport
    skill: str
    agent_url: str
    agent_card: Mapping[str, Any] | None
    streaming: bool
    record_binding: bool
    guard: RemoteGuard
    chunks_to: Targets

    async def call(self, message: Any, ctx: Context, node: Node) -> Any:
        """Work on a message of the node. Raises as `RemoteCall.run`, and what the guard does."""
        if not isinstance(message, Message):
            problem = (
                f"RemoteNode '{node.name}' takes a Message, not {type(message).__name__}; "
                "it needs headers and a trace id"
            )
            raise TypeError(problem)
        request = _request(
            message,
            ctx,
            skill=self.skill,
            agent_url=self.agent_url,
            agent_card=self.agent_card,
            limit=node.policy.timeout_s,
        )
        one = RemoteCall(
            self.transport,
            request,
            ctx,
            node,
            streaming=self.streaming,
            record_binding=self.record_binding,
            chunks_to=self.chunks_to,
        )
        attempt, limit = ctx.attempt, request.timeout_s
        async with self.guard.admit(self.agent_url, retry=attempt > 0, timeout_s=limit):
            return await one.run()


def _request(
    message: Message,
    ctx: Context,
    *,
    skill: str,
    agent_url: str,
    agent_card: Mapping[str, Any] | None,
    limit: float | None,
) -> RemoteCallRequest:
    """The call that a message asks for."""
    meta = message.meta
    return RemoteCallRequest(
        message=message,
        skill=skill,
        agent_url=agent_url,
        agent_card=agent_card,
        metadata=meta,
        timeout_s=_time_left(message, ctx, limit),
        context_id=meta.get("remote_context_id") or meta.get("context_id"),
        task_id=meta.get("remote_task_id"),
        trace_id=message.trace_id,
        tenant=message.headers.tenant,
        deadline_s=message.deadline_s,
        idempotency_key=_key(ctx),
        traceparent=current_traceparent(),
    )


def _time_left(message: Message, ctx: Any, limit: float | None) -> float | None:
    """Seconds that anybody waits for the answer."""
    if message.deadline_s is None:
        return limit
    now = ctx.now() if hasattr(ctx, "now") else SYSTEM_CLOCK.now()  # called by hand, as in a test
    left = max(0.0, message.deadline_s - now)
    return left if limit is None else min(limit, left)


def _key(ctx: Context) -> str | None:
    with contextlib.suppress(RuntimeError):  # called by hand, outside of a run
        return ctx.idempotency_key
    return None


__all__ = ["RemoteNode"]
