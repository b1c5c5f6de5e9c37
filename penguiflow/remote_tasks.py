"""What a remote node needs of a transport beyond the calls: ids in advance, and how tasks end."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from penguiflow.remote_models import RemoteCallRequest, RemoteTaskSnapshot


@runtime_checkable
class MintsTaskIds(Protocol):
    """Names a remote task before it exists, so that there is always something to cancel.

    Optional for a transport, found by duck typing.
    """

    async def mint_task_id(self, request: RemoteCallRequest, *, attempt: int) -> str:
        """The id under which the request will run.

        Args:
            request: The request, with its `idempotency_key` set.
            attempt: How many attempts at this call were made before, from 0.

        Guarantees: the same id for the same idempotency key, as long as that task lives or has a
        result; another one after it ended without a result.
        """


class RemoteTaskFailed(RuntimeError):
    """The remote task ended without a result: it failed, was cancelled or was rejected.

    Attributes:
        snapshot: The task at its end.
        code: A stable word for the reason.
    """

    def __init__(self, snapshot: RemoteTaskSnapshot, *, code: str, message: str) -> None:
        super().__init__(message)
        self.snapshot = snapshot
        self.code = code


__all__ = ["MintsTaskIds", "RemoteTaskFailed"]
