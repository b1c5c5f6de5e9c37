"""The address of an agent, as far as telemetry may show it. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit


def address(agent_url: str) -> tuple[str, str]:
    """(system, agent) of an address, without its credentials, its port and its query."""
    try:
        parts = urlsplit(agent_url)
        host = parts.hostname or ""
    except ValueError:
        return "unknown", "unknown"
    path = parts.path.strip("/")
    if parts.scheme == "nats":  # nats://agent or nats://tenant/agent
        return "nats", path or host
    return parts.scheme or "unknown", f"{host}/{path}" if path else host


def server(agent_url: str) -> tuple[str, int | None] | None:
    """(host, port) of an address that names a server; one of NATS names an agent."""
    try:
        parts = urlsplit(agent_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return None if parts.scheme == "nats" or not host else (host, port)


__all__ = ["address", "server"]
