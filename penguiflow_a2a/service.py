"""`A2AService`: the operations of the A2A protocol over a task board, the same for all bindings."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types.a2a_pb2 import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import (
    ExtendedAgentCardNotConfiguredError,
    InvalidParamsError,
    InvalidRequestError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from a2a.utils.task import apply_history_length, validate_history_length

from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.remote_models import RemoteTaskState
from penguiflow.serving.board import (
    Following,
    NotWaiting,
    OrderTooLarge,
    TaskBoard,
    UnknownOrder,
)
from penguiflow.serving.in_memory import InMemoryTaskBoard
from penguiflow.serving.models import TaskOrder
from penguiflow.telemetry.instrument import Instrument, ServiceInstrument
from penguiflow_a2a.caller import Caller, caller_of
from penguiflow_a2a.config import A2AConfig
from penguiflow_a2a.execution import Execution, Function
from penguiflow_a2a.identity import ANONYMOUS, Authenticator, Principal
from penguiflow_a2a.limits import OpenStreams
from penguiflow_a2a.listing import page_of, query_of
from penguiflow_a2a.notification_configs import NotificationConfigs
from penguiflow_a2a.observing import SYSTEM
from penguiflow_a2a.operations import streaming, unary
from penguiflow_a2a.orders import check_input, order_of
from penguiflow_a2a.outbox import PushOutbox
from penguiflow_a2a.picture import Event, TaskPicture
from penguiflow_a2a.streams import followed_events, sent_events, settled

ExtendedCardAuth: TypeAlias = Callable[[Principal], Awaitable[bool]]


class A2AService(RequestHandler):
    """Serves a flow by the A2A protocol. Starts by itself at the first request.

    Args:
        flow: What works on messages: a flow, or an async function of (message, ctx).
        agent_card: The public card. Its capabilities decide which operations there are.
        config: How the service behaves.
        store: Where tasks live: in this process by default, or a board that outlives it.
        target: Where messages are emitted to; all ingress nodes by default.
        registry: The models of nodes that validate.
        default_headers: Fields of the headers of emitted messages.
        push_sender: Delivers push notifications; needed when the card promises them.
        extended_agent_card: The card for those who are authenticated.
        extended_agent_card_auth: Who of them may see it; all by default.
        authenticator: Says who calls; without one everybody is the same anonymous principal.
        works: Whether tasks are worked on here too; otherwise only other processes do.
        telemetry: Observes operations and work, and the flow if it has none of its own.

    Raises:
        ValueError: the card promises push notifications and nobody delivers them.
    """

    def __init__(
        self,
        flow: PenguiFlow | Function,
        *,
        agent_card: AgentCard,
        config: A2AConfig | None = None,
        store: TaskBoard | None = None,
        target: Any = None,
        registry: ModelRegistry | None = None,
        default_headers: Mapping[str, Any] | None = None,
        push_sender: PushOutbox | None = None,
        extended_agent_card: AgentCard | None = None,
        extended_agent_card_auth: ExtendedCardAuth | None = None,
        authenticator: Authenticator | None = None,
        works: bool = True,
        telemetry: Instrument | None = None,
    ) -> None:
        self.agent_card = agent_card
        self.config = config or A2AConfig()
        self.authenticator = authenticator
        self.board: TaskBoard = store if store is not None else InMemoryTaskBoard()
        self._execution = Execution(
            flow,
            mode=self.config.payload_mode,
            target=target,
            registry=registry,
            headers=default_headers,
            telemetry=telemetry,
        )
        self._telemetry = telemetry
        self._works = works
        self._outbox = push_sender
        if agent_card.capabilities.push_notifications and push_sender is None:
            msg = "the card promises push notifications; give a push_sender that delivers them"
            raise ValueError(msg)
        self._extended_card = extended_agent_card
        self._extended_card_auth = extended_agent_card_auth
        self._streams = OpenStreams(self.config.max_open_streams)
        self._started = False
        self._lock = asyncio.Lock()

    # Life

    async def start(self) -> None:
        """Be ready; once started it does nothing."""
        if self._started:
            return
        async with self._lock:
            if self._running():  # somebody else was faster
                return
            if self._works:
                self._execution.start()
            handler = self._execution if self._works else None
            await self.board.start(handler, telemetry=self._telemetry)
            if self._outbox is not None:
                await self._outbox.start(self.board)
            self._started = True

    async def stop(self) -> None:
        """Finish what is in work here; what is left others go on with, if the board outlives us."""
        async with self._lock:
            if not self._started:
                return
            self._started = False
            if self._outbox is not None:
                await self._outbox.stop()
            await self.board.stop()
            await self._execution.stop()

    @functools.cached_property
    def probe(self) -> ServiceInstrument | None:
        """What the operations tell; looked up at the first one."""
        if self._telemetry is None:
            return None
        return self._telemetry.service(self.agent_card.name, system=SYSTEM)

    def _running(self) -> bool:
        return self._started

    async def _caller(self, params: Any, context: ServerCallContext) -> Caller:
        caller = caller_of(params, context, self.config, self.agent_card)
        await self.start()
        return caller

    # Sending

    @unary
    async def on_message_send(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> Task | Message:
        """Start a task, or answer one, and wait until it ends or waits for its caller."""
        caller = await self._caller(params, context)
        async with self._sent(params, caller) as following:
            picture = self._picture(following)
            if not params.configuration.return_immediately:
                await settled(picture, following)
        if picture.message is not None:
            return picture.message
        return apply_history_length(picture.task(), params.configuration)

    @streaming
    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Start a task, or answer one, and tell what happens until it ends or waits."""
        self._need_streaming()
        caller = await self._caller(params, context)
        with self._streams.opened(caller.owner):
            async with self._sent(params, caller) as following:
                picture, hold = self._picture(following), self.config.hold_task
                async with aclosing(sent_events(picture, following, hold=hold)) as events:
                    async for event in events:
                        yield _shortened(event, params)

    @contextlib.asynccontextmanager
    async def _sent(self, params: SendMessageRequest, caller: Caller) -> AsyncIterator[Following]:
        """Commit the message of a request and follow its task."""
        validate_history_length(params.configuration)
        check_input(params.message, self.agent_card)
        wanted: TaskPushNotificationConfig | None = None
        if params.configuration.HasField("task_push_notification_config"):
            wanted = TaskPushNotificationConfig()
            wanted.CopyFrom(params.configuration.task_push_notification_config)
            await self._configs().check(wanted)
        try:
            async with await self._committed(params, caller) as following:
                if wanted is not None:
                    wanted.task_id = following.sheet.order.task_id
                    await self._configs().create(wanted, owner=caller.owner)
                yield following
        except OrderTooLarge as error:
            raise InvalidParamsError(str(error)) from error

    async def _committed(
        self, params: SendMessageRequest, caller: Caller
    ) -> AbstractAsyncContextManager[Following]:
        task_id = params.message.task_id
        if not task_id:
            return self.board.submit(order_of(params, caller, self.config))
        sheet = await self.board.look(task_id, owner=caller.owner, pieces=False)
        if sheet is None:
            raise TaskNotFoundError
        context_id = sheet.order.context_id
        if params.message.context_id and params.message.context_id != context_id:
            msg = "the task belongs to another context than the message names"
            raise InvalidParamsError(msg)
        order = order_of(params, caller, self.config, task_id=task_id, context_id=context_id)
        return self._answered(order)

    @contextlib.asynccontextmanager
    async def _answered(self, order: TaskOrder) -> AsyncIterator[Following]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                following = await stack.enter_async_context(self.board.answer(order))
            except UnknownOrder as error:
                raise TaskNotFoundError from error
            except NotWaiting as error:
                msg = "the task waits for no message: it works, or is over"
                raise UnsupportedOperationError(msg) from error
            yield following

    # Looking

    @unary
    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task:
        """A task as it is."""
        validate_history_length(params)
        caller = await self._caller(params, context)
        sheet = await self.board.look(params.id, owner=caller.owner)
        if sheet is None:
            raise TaskNotFoundError
        picture = TaskPicture(sheet, failure_texts=self.config.failure_texts)
        return apply_history_length(picture.task(), params)

    @unary
    async def on_list_tasks(
        self, params: ListTasksRequest, context: ServerCallContext
    ) -> ListTasksResponse:
        """Tasks of the caller, newest change first."""
        validate_history_length(params)
        caller = await self._caller(params, context)
        query = query_of(params, self.config)
        try:
            page = await self.board.list(caller.owner, query)
        except ValueError as error:
            raise InvalidParamsError(str(error)) from error
        return page_of(page, params, query, failure_texts=self.config.failure_texts)

    @streaming
    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """A task as it is, then everything that happens to it until it is over."""
        self._need_streaming()
        caller = await self._caller(params, context)
        with self._streams.opened(caller.owner):
            async with contextlib.AsyncExitStack() as stack:
                try:
                    following = await stack.enter_async_context(
                        self.board.follow(params.id, owner=caller.owner)
                    )
                except UnknownOrder as error:
                    raise TaskNotFoundError from error
                picture = self._picture(following)
                if following.sheet.is_over:
                    msg = "the task is over: there is nothing to subscribe to"
                    raise UnsupportedOperationError(msg)
                async with aclosing(followed_events(picture, following)) as events:
                    async for event in events:
                        yield event

    @unary
    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task:
        """Cancel a task; one that was cancelled before is given as it is."""
        caller = await self._caller(params, context)
        try:
            sheet = await self.board.cancel(params.id, owner=caller.owner)
        except UnknownOrder as error:
            raise TaskNotFoundError from error
        if sheet.state is not RemoteTaskState.CANCELLED:
            raise TaskNotCancelableError
        return TaskPicture(sheet).task()

    # Push notification configurations

    def _configs(self) -> NotificationConfigs:
        if not self.agent_card.capabilities.push_notifications or self._outbox is None:
            raise PushNotificationNotSupportedError
        return NotificationConfigs(self.board, self._outbox, self.config)

    @unary
    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Register a webhook for a task."""
        configs, caller = self._configs(), await self._caller(params, context)
        return await configs.create(params, owner=caller.owner)

    @unary
    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """A webhook of a task, without its credentials."""
        configs, caller = self._configs(), await self._caller(params, context)
        return await configs.get(params, owner=caller.owner)

    @unary
    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """All webhooks of a task, without their credentials."""
        configs, caller = self._configs(), await self._caller(params, context)
        return await configs.list(params, owner=caller.owner)

    @unary
    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Remove a webhook of a task; removing it again is harmless."""
        configs, caller = self._configs(), await self._caller(params, context)
        await configs.delete(params, owner=caller.owner)

    # Cards

    @unary
    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """The card for those who are authenticated."""
        if not self.agent_card.capabilities.extended_agent_card:
            msg = "the agent has no extended card"
            raise UnsupportedOperationError(msg)
        caller = await self._caller(params, context)
        if self._extended_card is None:
            raise ExtendedAgentCardNotConfiguredError
        auth = self._extended_card_auth
        if auth is None:
            allowed = caller.principal is not ANONYMOUS
        else:
            allowed = await auth(caller.principal)
        if not allowed:
            msg = "the extended card is for authenticated callers only"
            raise InvalidRequestError(msg)
        return self._extended_card

    # Parts

    def _need_streaming(self) -> None:
        if not self.agent_card.capabilities.streaming:
            msg = "the agent does not stream"
            raise UnsupportedOperationError(msg)

    def _picture(self, following: Following) -> TaskPicture:
        return TaskPicture(following.sheet, failure_texts=self.config.failure_texts)


def _shortened(event: Event, params: SendMessageRequest) -> Event:
    if isinstance(event, Task):
        return apply_history_length(event, params.configuration)
    return event


__all__ = ["A2AService", "ExtendedCardAuth"]
