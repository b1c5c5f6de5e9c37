"""Errors of calls to agents.

    AgentNotFound        (RuntimeError) no replica of the agent takes calls
    UnknownTask          (KeyError) no such task, or its retention is over
    NotAsked             (ValueError) a task was sent more, but waits for nothing
    ReplyGap             (RuntimeError) events of an answer are missing for good
    CallTenantMismatch   (ValueError) address, message and transport name different tenants

A task that failed, was cancelled or rejected raises `penguiflow.remote.RemoteTaskFailed`.
"""

from __future__ import annotations


class AgentNotFound(RuntimeError):
    """No replica of the agent takes calls. The call was withdrawn.

    Attributes:
        agent: Name of the agent.
        tenant: Whose agent.
    """

    def __init__(self, agent: str, tenant: str, waited: float) -> None:
        super().__init__(
            f"no agent {agent!r} of tenant {tenant!r} took the call within {waited:g} s; "
            "start one, or check the name in the address"
        )
        self.agent = agent
        self.tenant = tenant


class UnknownTask(KeyError):
    """The task does not exist, belongs to another tenant, or was removed after its retention.

    Attributes:
        task_id: The task.
    """

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {task_id!r}; it never was, or its retention is over")
        self.task_id = task_id


class NotAsked(ValueError):
    """A request with the id of a task that works and has no open question. Perhaps somebody else
    answered first.

    Attributes:
        task_id: The task.
    """

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {task_id!r} waits for no answer: its questions were answered by others; "
            "follow it with `resume`, or send the request under another task id"
        )
        self.task_id = task_id


class ReplyGap(RuntimeError):
    """The task is over, but not all of its events can be read: the stream lost some.

    Attributes:
        task_id: The task.
    """

    def __init__(self, task_id: str, read: int, written: int) -> None:
        super().__init__(f"task {task_id}: {read} of {written} events could be read")
        self.task_id = task_id


class CallTenantMismatch(ValueError):
    """A call names another tenant than the transport's connection."""

    def __init__(self, found: str, own: str, where: str) -> None:
        super().__init__(
            f"the {where} is of tenant {found!r}, the transport of {own!r}; "
            "use a transport of that tenant"
        )
