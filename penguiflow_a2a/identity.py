"""Who calls, and whose tasks those are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from penguiflow.durable.tokens import derive


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was authenticated.

    Attributes:
        name: Who it is, unique within the tenant.
        tenant: Whose tasks it may see; None leaves that to the request.
    """

    name: str
    tenant: str | None = None


ANONYMOUS = Principal("")
"""Whoever calls a service without authentication."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request carries to say who sent it. Never logged, stored or passed on."""

    binding: str
    """"http" or "grpc"."""
    headers: Mapping[str, str] = field(repr=False)
    """Headers or metadata, names in lower case."""
    peer: str = ""
    """The address of the other side."""
    certificate: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What gRPC knows of a client certificate that was verified: `x509_common_name` and others."""


Authenticator: TypeAlias = Callable[[Credentials], Awaitable[Principal | None]]
"""Says who sent a request; None refuses it as not authenticated."""


def bearer_tokens(principals: Mapping[str, Principal]) -> Authenticator:
    """Authentication by `Authorization: Bearer <token>`.

    Args:
        principals: Who holds which token.
    """
    known = [(_digest(token), principal) for token, principal in principals.items()]

    async def authenticate(credentials: Credentials) -> Principal | None:
        scheme, _, token = credentials.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given, found = _digest(token.strip()), None
        for digest, principal in known:  # all of them: the time tells nothing
            if hmac.compare_digest(digest, given):
                found = principal
        return found

    return authenticate


def client_certificates(tenants: Mapping[str, str | None]) -> Authenticator:
    """Authentication by the common name of a client certificate that gRPC has verified.

    Args:
        tenants: The tenant of each common name; None leaves it to the request.
    """

    async def authenticate(credentials: Credentials) -> Principal | None:
        name = credentials.certificate.get("x509_common_name")
        if isinstance(name, bytes):
            name = name.decode("utf-8", "replace")
        if not isinstance(name, str) or name not in tenants:
            return None
        return Principal(name, tenants[name])

    return authenticate


def owner_token(tenant: str, principal: str) -> str:
    """Tenant and principal as the owner of tasks: a token that gives neither away."""
    return derive("a2a owner", tenant, principal)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
