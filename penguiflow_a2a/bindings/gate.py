"""What a request must be before anybody parses it, the same for all bindings."""

from __future__ import annotations

from a2a.utils.errors import A2AError, ContentTypeNotSupportedError

from penguiflow_a2a.identity import ANONYMOUS, Credentials, Principal
from penguiflow_a2a.limits import RequestRate
from penguiflow_a2a.service import A2AService

_JSON = frozenset(("application/json", "application/a2a+json"))


class NotAuthenticated(A2AError):
    """Nobody knows who sent the request: HTTP 401, gRPC UNAUTHENTICATED."""

    message = "not authenticated"


class TooLarge(A2AError):
    """A request is larger than the service takes: HTTP 413, gRPC RESOURCE_EXHAUSTED."""

    message = "the request is too large"


class Gate:
    """Lets requests in."""

    def __init__(self, service: A2AService) -> None:
        self._authenticator = service.authenticator
        self._rate = RequestRate(service.config.requests_per_second)
        self.max_body = service.config.max_body

    async def admit(self, credentials: Credentials) -> Principal:
        """Who sent the request.

        Raises:
            NotAuthenticated: nobody knows.
            LimitExceeded: it sends too many.
        """
        principal: Principal | None = ANONYMOUS
        if self._authenticator is not None:
            principal = await self._authenticator(credentials)
            if principal is None:
                raise NotAuthenticated
        assert principal is not None  # noqa: S101 - checked above
        self._rate.take(
            f"{principal.tenant}/{principal.name}" if principal.name else _host(credentials)
        )
        return principal

    def check_size(self, size: int) -> None:
        """Raises `TooLarge`."""
        if size > self.max_body:
            msg = f"the request is larger than {self.max_body} bytes"
            raise TooLarge(msg)


def _host(credentials: Credentials) -> str:
    return credentials.peer.rpartition(":")[0]


def check_content_type(value: str) -> None:
    """Whether a body may be JSON by its content type. Raises `ContentTypeNotSupportedError`."""
    kind = value.partition(";")[0].strip().lower()
    if kind and kind not in _JSON:
        msg = f"content type {kind[:100]!r}: send application/a2a+json or application/json"
        raise ContentTypeNotSupportedError(msg)
