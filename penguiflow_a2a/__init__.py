"""Flows served and called by the A2A protocol (1.0).

    A2AService, A2AConfig, PayloadMode      the server, over any task board
    create_a2a_http_router,
    install_a2a_http, create_a2a_http_app   JSON-RPC and HTTP+JSON      penguiflow[a2a-server]
    add_a2a_grpc_service                    gRPC                        penguiflow[a2a-grpc]
    bearer_tokens, client_certificates      who calls
    A2AHttpTransport                        agents called by HTTP       penguiflow[a2a-client]
    A2AGrpcTransport                        agents called by gRPC       penguiflow[a2a-grpc]
    PushSender                              tells webhooks              penguiflow[a2a-client]

Names are imported when they are first used; with an extra missing, the error says which.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow_a2a.bindings.grpc import add_a2a_grpc_service
    from penguiflow_a2a.bindings.http import (
        create_a2a_http_app,
        create_a2a_http_router,
        install_a2a_http,
    )
    from penguiflow_a2a.cards import card_of
    from penguiflow_a2a.client.calls import Patience
    from penguiflow_a2a.client.grpc import A2AGrpcTransport
    from penguiflow_a2a.client.http import A2AHttpTransport
    from penguiflow_a2a.config import A2AConfig, PayloadMode
    from penguiflow_a2a.identity import (
        Credentials,
        Principal,
        bearer_tokens,
        client_certificates,
    )
    from penguiflow_a2a.outbound import OutboundPolicy, OutboundRefused
    from penguiflow_a2a.outbox import PushOutbox
    from penguiflow_a2a.push import PushLimits, PushSender
    from penguiflow_a2a.service import A2AService
    from penguiflow_a2a.spec import A2ASpec

_HOMES = {
    "A2AGrpcTransport": "client.grpc",
    "A2AHttpTransport": "client.http",
    "A2AConfig": "config",
    "A2AService": "service",
    "A2ASpec": "spec",
    "Credentials": "identity",
    "OutboundPolicy": "outbound",
    "OutboundRefused": "outbound",
    "Patience": "client.calls",
    "PayloadMode": "config",
    "Principal": "identity",
    "PushLimits": "push",
    "PushOutbox": "outbox",
    "PushSender": "push",
    "add_a2a_grpc_service": "bindings.grpc",
    "bearer_tokens": "identity",
    "card_of": "cards",
    "client_certificates": "identity",
    "create_a2a_http_app": "bindings.http",
    "create_a2a_http_router": "bindings.http",
    "install_a2a_http": "bindings.http",
}
_EXTRAS = {
    "bindings.grpc": "a2a-grpc",
    "bindings.http": "a2a-server",
    "client.calls": "a2a-client",
    "client.grpc": "a2a-grpc",
    "client.http": "a2a-client",
    "push": "a2a-client",
}


class MissingExtra(ImportError):
    """A part needs a package that is not installed.

    Attributes:
        extra: The extra of `penguiflow` that brings it.
    """

    def __init__(self, name: str, extra: str, missing: str | None) -> None:
        super().__init__(
            f"{name} needs {missing or 'a package that is missing'}: install penguiflow[{extra}]"
        )
        self.extra = extra


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "penguiflow", "penguiflow_a2a"):
            raise
        raise MissingExtra(name, _EXTRAS.get(home, "a2a-server"), error.name) from error
    except ImportError as error:  # the SDK says it in its own words
        raise MissingExtra(name, _EXTRAS.get(home, "a2a-server"), str(error)) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = [
    "A2AConfig",
    "A2AGrpcTransport",
    "A2AHttpTransport",
    "A2AService",
    "A2ASpec",
    "Credentials",
    "MissingExtra",
    "OutboundPolicy",
    "OutboundRefused",
    "Patience",
    "PayloadMode",
    "Principal",
    "PushLimits",
    "PushOutbox",
    "PushSender",
    "add_a2a_grpc_service",
    "bearer_tokens",
    "card_of",
    "client_certificates",
    "create_a2a_http_app",
    "create_a2a_http_router",
    "install_a2a_http",
]
