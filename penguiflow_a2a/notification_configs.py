"""The four operations on the push notification configurations of a task."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from a2a.types.a2a_pb2 import (
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError

from penguiflow.serving.board import TaskBoard, UnknownOrder
from penguiflow_a2a.config import A2AConfig
from penguiflow_a2a.outbox import NOTE_PREFIX, PushOutbox

_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
_LONGEST = 16 * 1024


class NotificationConfigs:
    """The configurations, as notes of their tasks. Credentials are written and never given."""

    def __init__(self, board: TaskBoard, outbox: PushOutbox, config: A2AConfig) -> None:
        self._board = board
        self._outbox = outbox
        self._config = config

    async def check(self, config: TaskPushNotificationConfig) -> None:
        """Whether a configuration may be registered. Raises `InvalidParamsError`."""
        if config.id and _ID.fullmatch(config.id) is None:
            msg = "the id of the configuration is none: up to 48 letters, digits, '-' and '_'"
            raise InvalidParamsError(msg)
        if config.ByteSize() > _LONGEST:
            msg = f"the configuration is larger than {_LONGEST} bytes"
            raise InvalidParamsError(msg)
        secrets = config.token + config.authentication.scheme + config.authentication.credentials
        if not secrets.isprintable():
            msg = "token and credentials must not hold control characters"
            raise InvalidParamsError(msg)
        try:
            await self._outbox.check(config)
        except ValueError as error:
            raise InvalidParamsError(str(error)) from error

    async def create(
        self, config: TaskPushNotificationConfig, *, owner: str
    ) -> TaskPushNotificationConfig:
        """Register; again with the same id writes over it.

        Raises:
            TaskNotFoundError: the owner has no such task.
            InvalidParamsError: the configuration is refused, or there are too many.
        """
        await self.check(config)
        kept = TaskPushNotificationConfig()
        kept.CopyFrom(config)
        kept.id = kept.id or uuid.uuid4().hex
        try:
            there = await self._board.notes(kept.task_id, owner=owner)
            names = {name for name in there if name.startswith(NOTE_PREFIX)}
            name = NOTE_PREFIX + kept.id
            if name not in names and len(names) >= self._config.max_push_configs:
                msg = f"the task has {len(names)} configurations already; delete one first"
                raise InvalidParamsError(msg)
            await self._board.put_note(kept.task_id, name, kept.SerializeToString(), owner=owner)
        except UnknownOrder as error:
            raise TaskNotFoundError from error
        await self._outbox.watch(kept, owner=owner)
        return _shown(kept)

    async def get(
        self, params: GetTaskPushNotificationConfigRequest, *, owner: str
    ) -> TaskPushNotificationConfig:
        """One of them. Raises `TaskNotFoundError`."""
        for each in await self._all(params.task_id, owner):
            if each.id == params.id:
                return _shown(each)
        raise TaskNotFoundError

    async def list(
        self, params: ListTaskPushNotificationConfigsRequest, *, owner: str
    ) -> ListTaskPushNotificationConfigsResponse:
        """All of them in the order of their ids. Raises `TaskNotFoundError`."""
        found = [
            each for each in await self._all(params.task_id, owner) if each.id > params.page_token
        ]
        size = params.page_size if 0 < params.page_size < len(found) else len(found)
        token = found[size - 1].id if size < len(found) else ""
        return ListTaskPushNotificationConfigsResponse(
            configs=[_shown(each) for each in found[:size]], next_page_token=token
        )

    async def delete(self, params: DeleteTaskPushNotificationConfigRequest, *, owner: str) -> None:
        """Remove one, if it is there. Raises `TaskNotFoundError`."""
        if _ID.fullmatch(params.id) is None:
            return
        try:
            await self._board.delete_note(params.task_id, NOTE_PREFIX + params.id, owner=owner)
        except UnknownOrder as error:
            raise TaskNotFoundError from error
        await self._outbox.unwatch(params.task_id, params.id, owner=owner)

    async def _all(self, task_id: str, owner: str) -> Sequence[TaskPushNotificationConfig]:
        try:
            notes = await self._board.notes(task_id, owner=owner)
        except UnknownOrder as error:
            raise TaskNotFoundError from error
        found = [
            TaskPushNotificationConfig.FromString(value)
            for name, value in notes.items()
            if name.startswith(NOTE_PREFIX)
        ]
        return sorted(found, key=lambda each: each.id)


def _shown(config: TaskPushNotificationConfig) -> TaskPushNotificationConfig:
    shown = TaskPushNotificationConfig()
    shown.CopyFrom(config)
    shown.authentication.ClearField("credentials")
    if not config.HasField("authentication"):
        shown.ClearField("authentication")
    return shown
