"""`A2AGrpcTransport`: agents called by gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from a2a.client.transports.grpc import GrpcTransport
from a2a.types.a2a_pb2 import AgentCard, AgentInterface

from penguiflow.telemetry.instrument import Instrument
from penguiflow_a2a.client.calls import Patience
from penguiflow_a2a.client.cards import Agent
from penguiflow_a2a.client.http import limited_client
from penguiflow_a2a.client.transport import A2ATransport, CredentialsOf
from penguiflow_a2a.outbound import OutboundPolicy
from penguiflow_a2a.outbound_grpc import grpc_channel
from penguiflow_a2a.outbound_http import fetch_json

_MAX_BYTES = 64 * 1024 * 1024


class A2AGrpcTransport(A2ATransport):
    """Calls A2A agents by gRPC. Addresses are those of the agent, whose card says where its gRPC
    is, or `grpc://host:port`, which needs no card.

    Args:
        headers: Metadata of every request to any agent. No place for credentials.
        agent_headers: Metadata of the requests to one origin: address -> headers.
        timeout_s: For calls that have none of their own; None waits for ever.
        policy: Where may be connected to.
        credentials: Metadata for (tenant, origin), asked for each request.
        channel_credentials: Of the channels, as for mTLS; TLS with the usual authorities.
        plain: Without TLS, where the policy allows private addresses; by default where the
            interface says so (`http://`, or no scheme while private addresses are allowed).
        tenant, patience, max_bytes, card_max_age, legacy, telemetry: As `A2AHttpTransport`.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        agent_headers: Mapping[str, Mapping[str, str]] | None = None,
        timeout_s: float | None = None,
        *,
        policy: OutboundPolicy | None = None,
        credentials: CredentialsOf | None = None,
        channel_credentials: Any = None,
        plain: bool | None = None,
        tenant: str = "default",
        patience: Patience | None = None,
        max_bytes: int = _MAX_BYTES,
        card_max_age: float = 300.0,
        legacy: bool = False,
        telemetry: Instrument | None = None,
    ) -> None:
        super().__init__(
            bindings=("GRPC",),
            policy=policy,
            headers=headers,
            agent_headers=agent_headers,
            credentials=credentials,
            tenant=tenant,
            timeout_s=timeout_s,
            patience=patience,
            max_bytes=max_bytes,
            card_max_age=card_max_age,
            legacy=legacy,
            telemetry=telemetry,
        )
        self._channel_credentials = channel_credentials
        self._plain = plain
        self._client: httpx.AsyncClient | None = None
        self._channels: dict[str, Any] = {}

    async def _fetch(self, url: str) -> Any:
        if self._client is None:
            self._client = limited_client(self.policy, self.max_bytes)
        return await fetch_json(self._client, self.policy, url, headers=self.card_headers(url))

    async def _connect(self, card: AgentCard, interface: AgentInterface, target: Any) -> Any:
        plain = self._plain
        if plain is None:
            plain = self.policy.allow_private and target.scheme in ("http", "grpc")
        channel = self._channels.get(interface.url)
        if channel is None:
            channel = await grpc_channel(
                self.policy, interface.url, credentials=self._channel_credentials, plain=plain
            )
            self._channels[interface.url] = channel
        if interface.protocol_version.startswith("0"):
            from a2a.compat.v0_3.grpc_transport import CompatGrpcTransport

            return CompatGrpcTransport(channel, card)
        return GrpcTransport(channel, card)

    def _lost(self, agent: Agent) -> None:
        # Its name may lead elsewhere now. Calls in work keep the channel that they have.
        super()._lost(agent)
        self._channels.pop(agent.interface.url, None)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        channels, self._channels = self._channels, {}
        await asyncio.gather(*(each.close() for each in channels.values()))
        if client is not None:
            await client.aclose()


__all__ = ["A2AGrpcTransport"]
