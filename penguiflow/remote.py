"""Calls to agents that run elsewhere: the values that travel and the transport that carries them.

RemoteNode           a node whose work is done by a remote agent
RemoteTransport      send, stream and cancel; what a remote node needs
MintsTaskIds         names a remote task before it exists; optional for a transport
RemoteGuard          limits of the calls: addresses, circuit breaker, retries, calls at once
SupportsRemoteTasks  the optional task methods of a transport
RemoteCallRequest    one call; answered by a RemoteCallResult or by RemoteStreamEvents
RemoteTaskSnapshot   a remote task as its agent sees it
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, runtime_checkable

from penguiflow.remote_guard import (
    AgentNotAllowed,
    CircuitOpen,
    RemoteGuard,
    RemoteRefused,
    RetryBudgetSpent,
    TooManyCalls,
)
from penguiflow.remote_models import (
    REMOTE_TERMINAL_TASK_STATES,
    RemoteCallRequest,
    RemoteCallResult,
    RemotePushNotificationBinding,
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskEvent,
    RemoteTaskInputRequired,
    RemoteTaskPage,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
)
from penguiflow.remote_node import RemoteNode
from penguiflow.remote_tasks import MintsTaskIds, RemoteTaskFailed


@runtime_checkable
class RemoteTransport(Protocol):
    """Carries calls to remote agents.

    Guarantees: safe to use from several tasks at once; a request with an `idempotency_key` that
    was sent before starts no second remote task.
    """

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        """Call and wait for the result.

        Raises:
            RemoteTaskInputRequired: the agent waits for input.
            RemoteTaskAuthRequired: the agent waits for credentials.
            RuntimeError: the remote task failed, was cancelled or was rejected.
            TimeoutError: no answer within `request.timeout_s`.
        """

    def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        """Call and give the answer piece by piece; an async generator.

        Raises:
            Exception: as `send`.
        """

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        """Ask the agent to cancel a task. Cancelling it again is harmless."""


@runtime_checkable
class SupportsRemoteTasks(Protocol):
    """The task methods of a transport. Optional, found by duck typing.

    Raises: `KeyError` for a task or configuration that does not exist or belongs to another
    tenant; the two cannot be told apart.
    """

    async def send_task(
        self, request: RemoteCallRequest, *, blocking: bool = False
    ) -> RemoteTaskSnapshot:
        """Start a task; with `blocking` wait until it ends or needs input or credentials."""

    async def get_task(
        self, *, agent_url: str, task_id: str, history_length: int | None = None
    ) -> RemoteTaskSnapshot:
        """The task as it is now."""

    async def list_tasks(
        self,
        *,
        agent_url: str,
        context_id: str | None = None,
        status: RemoteTaskState | None = None,
        page_size: int = 100,
        page_token: str | None = None,
        history_length: int | None = None,
        include_artifacts: bool = False,
    ) -> RemoteTaskPage:
        """One page of the tasks the caller may see."""

    def subscribe_task(self, *, agent_url: str, task_id: str) -> AsyncIterator[RemoteTaskEvent]:
        """What happens to the task from now on; an async generator that ends with the task."""

    async def set_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str, config: Mapping[str, Any]
    ) -> RemotePushNotificationBinding:
        """Create or replace a push notification configuration."""

    async def get_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str
    ) -> RemotePushNotificationBinding:
        """One push notification configuration."""

    async def delete_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str
    ) -> None:
        """Remove a push notification configuration."""

    async def list_task_push_notification_configs(
        self, *, agent_url: str, task_id: str, page_size: int = 100, page_token: str | None = None
    ) -> list[RemotePushNotificationBinding]:
        """The push notification configurations of a task."""


__all__ = [
    "REMOTE_TERMINAL_TASK_STATES",
    "AgentNotAllowed",
    "CircuitOpen",
    "MintsTaskIds",
    "RemoteCallRequest",
    "RemoteCallResult",
    "RemoteGuard",
    "RemoteNode",
    "RemotePushNotificationBinding",
    "RemoteRefused",
    "RemoteStreamEvent",
    "RemoteTaskAuthRequired",
    "RemoteTaskEvent",
    "RemoteTaskFailed",
    "RemoteTaskInputRequired",
    "RemoteTaskPage",
    "RemoteTaskSnapshot",
    "RemoteTaskState",
    "RemoteTaskStatus",
    "RemoteTransport",
    "RetryBudgetSpent",
    "SupportsRemoteTasks",
    "TooManyCalls",
]
