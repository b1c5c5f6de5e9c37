"""What can go wrong with a call, and the wall between the SDK's errors and ours.

AgentRefused      (NotRetryable, RuntimeError) the agent refuses the request; again it would too
AgentUnreachable  (RuntimeError) the agent cannot be reached, or its answers break off
UnknownTask       (KeyError) there is no such task, or it is somebody else's
AnswerTooLarge    (NotRetryable, RuntimeError) the answer is larger than allowed

An address that the policy refuses is `OutboundRefused`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
from a2a.client.errors import A2AClientError, A2AClientTimeoutError
from a2a.utils.errors import A2AError, InternalError, TaskNotFoundError

from penguiflow.errors import NotRetryable
from penguiflow_a2a.outbound import OutboundRefused

_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"UNAVAILABLE", "INTERNAL", "UNKNOWN", "ABORTED", "RESOURCE_EXHAUSTED"})


class AgentRefused(NotRetryable, RuntimeError):
    """The agent refuses the request, or cannot be called at all.

    Attributes:
        reason: The protocol's name of the error, such as `ContentTypeNotSupported`.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class AgentUnreachable(RuntimeError):
    """The agent cannot be reached, fails, or its answers break off. Another try may help."""


class UnknownTask(KeyError):
    """There is no such task or configuration of this caller."""


class AnswerTooLarge(NotRetryable, RuntimeError):
    """The agent answers more than is taken."""


@contextlib.contextmanager
def told(agent_url: str) -> Iterator[None]:
    """Turn what the SDK raises into the errors of this module. Their texts have no URL, which may
    hold a secret, but the address that the caller gave."""
    try:
        yield
    except A2AClientTimeoutError as error:
        msg = f"agent {agent_url} is silent for too long"
        raise AgentUnreachable(msg) from error
    except A2AClientError as error:
        raise _of_client(error, agent_url) from error
    except TaskNotFoundError as error:
        raise UnknownTask(str(error)) from error
    except InternalError as error:
        msg = f"agent {agent_url} fails: {error}"
        raise AgentUnreachable(msg) from error
    except A2AError as error:
        reason = type(error).__name__.removesuffix("Error")
        msg = f"agent {agent_url} refuses ({reason}): {error}"
        raise AgentRefused(msg, reason=reason) from error
    except httpx.HTTPError as error:
        _raise_refusal(error)
        msg = f"agent {agent_url} cannot be reached: {type(error).__name__}"
        raise AgentUnreachable(msg) from error


def _raise_refusal(error: BaseException) -> None:
    """Raise what we refused ourselves, deep below the SDK."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OutboundRefused | AnswerTooLarge):
            raise found
        found = found.__cause__ or found.__context__


def _of_client(error: A2AClientError, agent_url: str) -> Exception:
    _raise_refusal(error)
    cause = error.__cause__
    if isinstance(cause, httpx.HTTPStatusError):
        status = cause.response.status_code
        msg = f"agent {agent_url} answers with status {status}"
        return AgentUnreachable(msg) if status in _PASSING_STATUS else AgentRefused(msg)
    if isinstance(cause, httpx.RequestError):
        return AgentUnreachable(f"agent {agent_url}: {type(cause).__name__}")
    code = getattr(cause, "code", None)
    if callable(code):  # of a gRPC call
        name = code().name
        msg = f"agent {agent_url} answers {name}"
        return AgentUnreachable(msg) if name in _PASSING_CODES else AgentRefused(msg)
    return AgentRefused(f"agent {agent_url} answers what is not the protocol: {error}")


__all__ = ["AgentRefused", "AgentUnreachable", "AnswerTooLarge", "UnknownTask", "told"]
