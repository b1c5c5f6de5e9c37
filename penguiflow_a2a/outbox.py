"""What the service needs of whoever delivers push notifications."""

from __future__ import annotations

from typing import Protocol

from a2a.types.a2a_pb2 import TaskPushNotificationConfig

from penguiflow.serving.board import TaskBoard

NOTE_PREFIX = "push_"
"""The notes of a task that hold push notification configurations start so: a serialized
`TaskPushNotificationConfig` each, credentials included: never return them."""


class PushOutbox(Protocol):
    """Delivers what happens to tasks to the webhooks that were registered for them."""

    async def start(self, board: TaskBoard) -> None:
        """Begin to deliver. Called once, before anything else."""

    async def stop(self) -> None:
        """Leave the rest to other replicas, or to the next start."""

    async def check(self, config: TaskPushNotificationConfig) -> None:
        """Whether the webhook may be called at all, and its token and credentials sent.

        Raises:
            ValueError: it may not; the text says why, without repeating the address.
        """

    async def watch(self, config: TaskPushNotificationConfig, *, owner: str) -> None:
        """The configuration was written to the task `config.task_id`: deliver to it from now on.
        Repeating it is harmless. When this returns, no crash loses it."""

    async def unwatch(self, task_id: str, config_id: str, *, owner: str) -> None:
        """The configuration was removed: deliver nothing more to it."""
