"""Who calls an operation, for which tenant, in which version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.types.a2a_pb2 import AgentCard
from a2a.utils.errors import (
    ExtensionSupportRequiredError,
    InvalidParamsError,
    TaskNotFoundError,
    VersionNotSupportedError,
)

from penguiflow_a2a.config import A2AConfig
from penguiflow_a2a.identity import ANONYMOUS, Principal, owner_token

PRINCIPAL = "penguiflow.principal"
"""Key in the state of a call context: the `Principal`; whoever built the context sets it."""
VERSION = "penguiflow.version"
"""Key: the version as the request names it; empty when it names none."""
HEADERS = "headers"
"""Key: headers or metadata, names in lower case. The SDK's routes put them there."""
PATH_TENANT = "penguiflow.path_tenant"
"""Key: the tenant of the path; empty for none."""
BINDING = "penguiflow.binding"
"""Key: which binding the request came by."""
TRACEPARENT = "penguiflow.traceparent"
"""Key: the W3C trace context of the operation itself, where it is observed."""

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.\d{1,9})?")
_TENANT = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_FIRST = "0.3"
"""What the protocol reads a missing version as."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever calls an operation."""

    tenant: str
    principal: Principal
    owner: str
    """Whose tasks are seen: tenant and principal as one token."""
    headers: Mapping[str, str]
    binding: str
    traceparent: str | None = None
    """What the work that is ordered goes on from."""


def caller_of(
    params: Any, context: ServerCallContext, config: A2AConfig, card: AgentCard
) -> Caller:
    """The caller of an operation.

    Raises:
        VersionNotSupportedError: the request is of a version that is not served.
        ExtensionSupportRequiredError: the agent needs an extension that the caller lacks.
        InvalidParamsError: path and body name different tenants, or one that is none.
        TaskNotFoundError: the principal belongs to another tenant.
    """
    _check_version(context, config)
    _check_extensions(context, card)
    asked = (context.tenant, context.state.get(PATH_TENANT, ""), getattr(params, "tenant", ""))
    named = {each for each in asked if each}
    if len(named) > 1:
        msg = "the path names another tenant than the request"
        raise InvalidParamsError(msg)
    principal = context.state.get(PRINCIPAL, ANONYMOUS)
    tenant = named.pop() if named else principal.tenant or config.default_tenant
    if _TENANT.fullmatch(tenant) is None:
        msg = "the tenant is no name: 1 to 128 printable characters"
        raise InvalidParamsError(msg)
    if principal.tenant is not None and principal.tenant != tenant:
        # Not authorised must look like not found, for tenants that exist and those that do not.
        raise TaskNotFoundError
    headers = context.state.get(HEADERS, {})
    return Caller(
        tenant,
        principal,
        owner_token(tenant, principal.name),
        headers,
        context.state.get(BINDING, ""),
        context.state.get(TRACEPARENT) or headers.get("traceparent"),
    )


def _check_version(context: ServerCallContext, config: A2AConfig) -> None:
    if VERSION not in context.state:
        return  # called in this process
    text = str(context.state[VERSION]).strip() or config.default_version or _FIRST
    match = _VERSION.fullmatch(text)
    if match is None or f"{int(match[1])}.{int(match[2])}" not in config.supported_versions:
        served = ", ".join(config.supported_versions)
        msg = f"A2A version {text[:20]!r} is not served here; send A2A-Version: {served}"
        raise VersionNotSupportedError(msg)


def _check_extensions(context: ServerCallContext, card: AgentCard) -> None:
    for extension in card.capabilities.extensions:
        if extension.required and extension.uri not in context.requested_extensions:
            msg = f"the agent needs the extension {extension.uri}; declare it in A2A-Extensions"
            raise ExtensionSupportRequiredError(msg)
