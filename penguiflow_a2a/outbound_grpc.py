"""gRPC by the policy: the channel goes to an address that was checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from penguiflow_a2a.outbound import OutboundPolicy, OutboundRefused

_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


async def grpc_channel(
    policy: OutboundPolicy,
    address: str,
    *,
    credentials: Any = None,
    plain: bool = False,
    interceptors: Sequence[Any] = (),
) -> Any:
    """A channel to the `host:port` of an interface, or to an address with a scheme.

    The name is looked up here, once; make a new channel when the connection is lost for good.

    Args:
        policy: The policy.
        address: Where to.
        credentials: Channel credentials; by default TLS with the usual authorities.
        plain: Without TLS; for development, where the policy allows private addresses.
        interceptors: Of the channel.

    Raises:
        OutboundRefused: it may not be connected to, or not without TLS.
    """
    if plain and not policy.allow_private:
        msg = "without TLS, connections are for development (allow_private)"
        raise OutboundRefused(msg)
    target = policy.check_url(address if "://" in address else f"grpc://{address}")
    (first, *others) = await policy.addresses_of(target)
    kind = "ipv6" if ":" in first else "ipv4"
    where = ",".join(
        f"[{each}]:{target.port}" if ":" in each else f"{each}:{target.port}"
        for each in (first, *others)
        if (":" in each) == (kind == "ipv6")
    )
    options = [
        *_OPTIONS,
        ("grpc.max_receive_message_length", max(policy.max_bytes, 4 * 1024 * 1024)),
        ("grpc.default_authority", f"{target.host}:{target.port}"),
    ]
    if plain:
        return grpc.aio.insecure_channel(f"{kind}:{where}", options, interceptors=interceptors)
    # The certificate has to be that of the name, though an address is dialled.
    options.append(("grpc.ssl_target_name_override", target.host))
    return grpc.aio.secure_channel(
        f"{kind}:{where}",
        credentials or grpc.ssl_channel_credentials(),
        options,
        interceptors=interceptors,
    )


__all__ = ["grpc_channel"]
