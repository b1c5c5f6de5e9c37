"""`SupportsRemoteTasks` over A2A: start, look, list, follow, and where to report to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from a2a.types.a2a_pb2 import (
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    TaskPushNotificationConfig,
)
from google.protobuf.json_format import MessageToDict, ParseDict

from penguiflow.remote_models import (
    RemoteCallRequest,
    RemotePushNotificationBinding,
    RemoteTaskAuthRequired,
    RemoteTaskEvent,
    RemoteTaskInputRequired,
    RemoteTaskPage,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
)
from penguiflow.remote_tasks import RemoteTaskFailed
from penguiflow_a2a.client.calls import Call
from penguiflow_a2a.client.errors import told
from penguiflow_a2a.client.mapping import A2AStreamEvent, snapshot_of, task_event
from penguiflow_a2a.picture import STATES


class TaskMethods(ABC):
    """The task methods of a transport."""

    @abstractmethod
    async def call_of(self, agent_url: str, task_id: str = "") -> Call: ...

    @abstractmethod
    def stream(self, request: RemoteCallRequest) -> AsyncGenerator[A2AStreamEvent, None]: ...

    async def send_task(
        self, request: RemoteCallRequest, *, blocking: bool = False
    ) -> RemoteTaskSnapshot:
        """Start a task, or answer what a paused one asks.

        Args:
            request: The call; with a `task_id` it answers that task.
            blocking: Wait until the task ends, or needs input or credentials. A bare message is
                given as a completed task without an id.

        Raises:
            TimeoutError: it did neither within `request.timeout_s`.
            Exception: as `send`, but for tasks that end without a result.
        """
        last = A2AStreamEvent()
        async with aclosing(self.stream(request)) as events:
            try:
                async for event in events:
                    last = event
                    if event.task_id and not blocking:
                        break
            except (RemoteTaskFailed, RemoteTaskInputRequired, RemoteTaskAuthRequired) as ended:
                return ended.snapshot
        if last.task_id:
            return await self.get_task(agent_url=request.agent_url, task_id=last.task_id)
        completed = RemoteTaskStatus(RemoteTaskState.COMPLETED)
        return RemoteTaskSnapshot(
            "", last.context_id, completed, last.result, agent_url=request.agent_url
        )

    async def get_task(
        self, *, agent_url: str, task_id: str, history_length: int | None = None
    ) -> RemoteTaskSnapshot:
        """The task as it is now. Raises `UnknownTask`, and as `cancel`."""
        call = await self.call_of(agent_url, task_id)
        return snapshot_of(await call.look(task_id, history=history_length), agent_url)

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
        """Some of the caller's tasks, newest change first. Raises as `cancel`."""
        call = await self.call_of(agent_url)
        request = ListTasksRequest(
            tenant=call.tenant,
            context_id=context_id or "",
            page_size=page_size,
            page_token=page_token or "",
        )
        if status is not None:
            request.status = STATES[status]
        if history_length is not None:
            request.history_length = history_length
        if include_artifacts:
            request.include_artifacts = True
        with told(agent_url):
            page = await call.agent.link.list_tasks(request, context=call.context())
        return RemoteTaskPage(
            [snapshot_of(each, agent_url) for each in page.tasks],
            page.next_page_token,
            page.page_size,
            page.total_size,
        )

    async def subscribe_task(
        self, *, agent_url: str, task_id: str
    ) -> AsyncGenerator[RemoteTaskEvent, None]:
        """The task as it is now, then everything that happens to it, until it is over. A stream
        that breaks is taken up again, without a piece that is lost or comes twice.

        Kinds: `task` (with `task`; first and last), `status`, `text` and `artifact`. An agent that
        begins anew says so by a `status` with `meta={"restart": True, ...}`.

        Raises:
            UnknownTask: there is no such task.
            Exception: as `cancel`.
        """
        call = await self.call_of(agent_url, task_id)
        async with aclosing(call.followed(task_id)) as news:
            async for heard in news:
                yield task_event(heard, call.following, agent_url)

    # Push notifications

    async def set_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str, config: Mapping[str, Any]
    ) -> RemotePushNotificationBinding:
        """Tell the agent where to report to.

        Args:
            agent_url: Whose task.
            task_id: The task.
            config_id: Name of the configuration; again with it writes over it.
            config: As the protocol has it in JSON: `url`, `token`, `authentication`.

        Raises:
            UnknownTask: there is no such task.
            ParseError: the configuration is none.
            Exception: as `cancel`.
        """
        call = await self.call_of(agent_url, task_id)
        wanted = ParseDict(dict(config), TaskPushNotificationConfig())
        wanted.tenant, wanted.task_id, wanted.id = call.tenant, task_id, config_id
        with told(agent_url):
            found = await call.agent.link.create_task_push_notification_config(
                wanted, context=call.context()
            )
        return _binding(found)

    async def get_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str
    ) -> RemotePushNotificationBinding:
        """One configuration, without its credentials. Raises `UnknownTask`, and as `cancel`."""
        call = await self.call_of(agent_url, task_id)
        request = GetTaskPushNotificationConfigRequest(
            tenant=call.tenant, task_id=task_id, id=config_id
        )
        with told(agent_url):
            return _binding(
                await call.agent.link.get_task_push_notification_config(
                    request, context=call.context()
                )
            )

    async def delete_task_push_notification_config(
        self, *, agent_url: str, task_id: str, config_id: str
    ) -> None:
        """Report there no more. Raises `UnknownTask`, and as `cancel`."""
        call = await self.call_of(agent_url, task_id)
        request = DeleteTaskPushNotificationConfigRequest(
            tenant=call.tenant, task_id=task_id, id=config_id
        )
        with told(agent_url):
            await call.agent.link.delete_task_push_notification_config(
                request, context=call.context()
            )

    async def list_task_push_notification_configs(
        self, *, agent_url: str, task_id: str, page_size: int = 100, page_token: str | None = None
    ) -> list[RemotePushNotificationBinding]:
        """Configurations of a task. Raises `UnknownTask`, and as `cancel`."""
        call = await self.call_of(agent_url, task_id)
        request = ListTaskPushNotificationConfigsRequest(
            tenant=call.tenant, task_id=task_id, page_size=page_size, page_token=page_token or ""
        )
        with told(agent_url):
            page = await call.agent.link.list_task_push_notification_configs(
                request, context=call.context()
            )
        return [_binding(each) for each in page.configs]


def _binding(config: TaskPushNotificationConfig) -> RemotePushNotificationBinding:
    return RemotePushNotificationBinding(config.id, MessageToDict(config))


__all__ = ["TaskMethods"]
