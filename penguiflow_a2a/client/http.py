"""`A2AHttpTransport`: agents called by JSON-RPC and HTTP+JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
from a2a.client.transports.jsonrpc import JsonRpcTransport
from a2a.client.transports.rest import RestTransport
from a2a.types.a2a_pb2 import AgentCard, AgentInterface

from penguiflow.telemetry.instrument import Instrument
from penguiflow_a2a.client.calls import Patience
from penguiflow_a2a.client.errors import AnswerTooLarge
from penguiflow_a2a.client.transport import A2ATransport, CredentialsOf
from penguiflow_a2a.outbound import OutboundPolicy, OutboundRefused
from penguiflow_a2a.outbound_http import fetch_json, http_client

_MAX_BYTES = 64 * 1024 * 1024


class A2AHttpTransport(A2ATransport):
    """Calls A2A agents by HTTP. Addresses are those of the agent, where its card is found at
    `/.well-known/agent-card.json`, or of the card itself (ending in `.json`).

    Args:
        headers: Of every request to any agent. No place for credentials.
        agent_headers: Of the requests to one origin: address -> headers.
        timeout_s: For calls that have none of their own; None waits for ever.
        client: Carries the requests instead of one of our own; it is left open, and connects where
            it likes: then the policy sees the text of addresses only.
        policy: Where may be connected to; HTTPS to public addresses by default.
        credentials: Headers for (tenant, origin), asked for each request: they are sent to that
            origin only.
        tenant: Whose calls those are that name no tenant.
        bindings: Which are spoken: `JSONRPC`, `HTTP+JSON`.
        patience: How long is waited, and how often tried again.
        max_bytes: Of an answer, or of the artifacts of a streamed task.
        card_max_age: Seconds for which a card is believed.
        legacy: Whether agents of version 0.3 may be called, in their words.
        telemetry: Observes the calls that carry no trace context.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        agent_headers: Mapping[str, Mapping[str, str]] | None = None,
        timeout_s: float | None = None,
        client: httpx.AsyncClient | None = None,
        *,
        policy: OutboundPolicy | None = None,
        credentials: CredentialsOf | None = None,
        tenant: str = "default",
        bindings: Sequence[str] = ("JSONRPC", "HTTP+JSON"),
        patience: Patience | None = None,
        max_bytes: int = _MAX_BYTES,
        card_max_age: float = 300.0,
        legacy: bool = False,
        telemetry: Instrument | None = None,
    ) -> None:
        super().__init__(
            bindings=bindings,
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
        self._given = client
        self._client: httpx.AsyncClient | None = None

    def _http(self) -> httpx.AsyncClient:
        if self._given is not None:
            return self._given
        if self._client is None:
            self._client = limited_client(self.policy, self.max_bytes)
        return self._client

    async def _fetch(self, url: str) -> Any:
        return await fetch_json(self._http(), self.policy, url, headers=self.card_headers(url))

    async def _connect(self, card: AgentCard, interface: AgentInterface, target: Any) -> Any:
        rest = interface.protocol_binding == "HTTP+JSON"
        kind: Any = RestTransport if rest else JsonRpcTransport
        if interface.protocol_version.startswith("0"):
            from a2a.compat.v0_3.jsonrpc_transport import CompatJsonRpcTransport
            from a2a.compat.v0_3.rest_transport import CompatRestTransport

            kind = CompatRestTransport if rest else CompatJsonRpcTransport
        return kind(self._http(), card, interface.url, is_shared_httpx=True)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def limited_client(policy: OutboundPolicy, max_bytes: int) -> httpx.AsyncClient:
    """A client by the policy, whose answers are limited in size, and sent unpacked."""
    client = http_client(policy, headers={"Accept-Encoding": "identity"})

    async def limit_connecting(request: httpx.Request) -> None:
        # The time of a request is that of its silence; connecting takes no such time.
        timeout = request.extensions.get("timeout")
        if timeout:
            timeout = dict(timeout)
            for name in ("connect", "pool"):
                timeout[name] = min(timeout.get(name) or policy.timeout, policy.timeout)
            request.extensions = {**request.extensions, "timeout": timeout}

    async def limit_answer(response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            msg = "its answer is packed, which was not asked for"
            raise OutboundRefused(msg)
        streams = response.headers.get("content-type", "").startswith("text/event-stream")
        response.stream = _Limited(response.stream, max_bytes, per_line=streams)

    client.event_hooks = {"request": [limit_connecting], "response": [limit_answer]}
    return client


class _Limited(httpx.AsyncByteStream):
    """An answer of at most so many bytes; of a stream of events, each line."""

    def __init__(self, stream: Any, limit: int, *, per_line: bool) -> None:
        self._stream = stream
        self._limit = limit
        self._per_line = per_line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for data in self._stream:
            end = data.rfind(b"\n") if self._per_line else -1
            size = size + len(data) if end < 0 else len(data) - end - 1
            if size > self._limit:
                msg = f"the answer is longer than {self._limit} bytes (max_bytes)"
                raise AnswerTooLarge(msg)
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


__all__ = ["A2AHttpTransport", "limited_client"]
