"""HTTP by the policy: the connection goes to an address that was checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore
import httpx

from penguiflow_a2a.outbound import OutboundPolicy, OutboundRefused


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only. TLS still proves the name."""

    def __init__(self, policy: OutboundPolicy) -> None:
        self._policy = policy
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the name up, check what it has, and connect to that."""
        scheme = "http" if self._policy.allow_private else "https"
        try:
            target = self._policy.check_place(scheme, host, port)
            addresses = await self._policy.addresses_of(target)
        except OutboundRefused as refused:
            raise httpcore.ConnectError(refused) from refused
        problem: Exception | None = None
        for address in addresses:
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                problem = failed
        raise problem or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """There are none."""
        msg = "unix sockets are not connected to"
        raise httpcore.ConnectError(msg)

    async def sleep(self, seconds: float) -> None:
        """Wait, between attempts."""
        await self._backend.sleep(seconds)


class _CheckedTransport(httpx.AsyncHTTPTransport):
    def __init__(self, policy: OutboundPolicy, *, verify: Any, connections: int) -> None:
        super().__init__(verify=verify, trust_env=False, retries=0)
        # httpx has no argument for a network backend; its pool is made anew with ours.
        context = httpx.create_ssl_context(verify=verify, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=CheckedBackend(policy),
        )


def http_client(
    policy: OutboundPolicy,
    *,
    verify: Any = True,
    connections: int = 100,
    headers: Mapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """A client that goes where the policy allows: no redirects, no proxy of the environment.

    Args:
        policy: The policy.
        verify: As of httpx: whether and how certificates are checked.
        connections: At most so many at once.
        headers: Of every request. Credentials do not belong here: they are bound to an origin.
    """
    return httpx.AsyncClient(
        transport=_CheckedTransport(policy, verify=verify, connections=connections),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(policy.timeout),
        headers=dict(headers or {}),
    )


async def read_limited(response: httpx.Response, limit: int) -> bytes:
    """The body of a streamed response.

    Raises:
        OutboundRefused: it is longer than `limit` bytes, packed or unpacked.
    """
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > limit:
            msg = f"its answer is longer than {limit} bytes"
            raise OutboundRefused(msg)
        parts.append(part)
    return b"".join(parts)


async def fetch_json(
    client: httpx.AsyncClient,
    policy: OutboundPolicy,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """A document, such as a card.

    Raises:
        OutboundRefused: it may not be fetched, is redirected, too long or no JSON.
        httpx.HTTPError: it could not be fetched.
    """
    policy.check_url(url)
    accepted = {"Accept": "application/json", **(headers or {})}
    request = client.build_request("GET", url, headers=accepted)
    response = await client.send(request, stream=True)
    try:
        if response.is_redirect:
            msg = "it is redirected; name the address that it leads to"
            raise OutboundRefused(msg)
        if response.status_code != 200:
            msg = f"it answers with status {response.status_code}"
            raise OutboundRefused(msg)
        body = await read_limited(response, policy.max_bytes)
    finally:
        await response.aclose()
    try:
        return json.loads(body)
    except ValueError:
        msg = "its answer is no JSON"
        raise OutboundRefused(msg) from None


__all__ = ["CheckedBackend", "fetch_json", "http_client", "read_limited"]
