"""A server with two tenants, in an account each or in a shared one, and their credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer, free_port
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.tenancy import Tenants, read_tenants
from penguiflow_nats.tenancy_config import server_config

PASSWORD = "p{}-secret"
LIST = """
[server]
listen = "127.0.0.1:{port}"
store_dir = "{store}"
sync_interval = "2m"
disk = "{disk}"
{server}
[[tenant]]
name = "acme"
disk = "100MB"
connections = 12
agents = ["summary"]
[[tenant]]
name = "globex"
disk = "100MB"
connections = 12
agents = ["summary"]
"""


def tenants(port: int, store: str, server: str = "", *, disk: str = "200MB") -> Tenants:
    return read_tenants(LIST.format(port=port, store=store, server=server, disk=disk))


def streams_of(tenant: str) -> list[str]:
    """The streams that the permissions of a shared account have to name one by one."""
    return [f"PF_{tenant}_{part}" for part in ("0", "DLQ", "CHUNKS", "CALLS", "REPLIES", "X")]


def shared_user(tenant: str) -> str:
    """A worker's permissions in a shared account, as narrow as its work allows."""
    api = ["INFO", "STREAM.NAMES"]
    for stream in (*streams_of(tenant), f"KV_{tenant}"):
        api += [f"STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO", "PURGE")]
        api += [f"STREAM.DELETE.{stream}", f"STREAM.MSG.*.{stream}"]
        api += [f"DIRECT.GET.{stream}", f"DIRECT.GET.{stream}.>"]
        api += [f"CONSUMER.*.{stream}", f"CONSUMER.*.{stream}.>", f"CONSUMER.MSG.NEXT.{stream}.>"]
    own = [f"pf.v1.{tenant}.>", f"$KV.{tenant}.>", f"_INBOX_{tenant}.>"]
    acks = [f"$JS.ACK.{stream}.>" for stream in streams_of(tenant)]
    publish = ", ".join(f'"{s}"' for s in (*own, *acks, *(f"$JS.API.{a}" for a in api)))
    subscribe = ", ".join(f'"{s}"' for s in (*own, "$SRV.>"))
    return (
        f'{{ user: "{tenant}-worker", password: "{PASSWORD.format(tenant)}", permissions: {{ '
        f"publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }} }}"
    )


SHARED = """
max_connections: 12
jetstream {{ store_dir: "{store}", max_file_store: 200MB }}
accounts {{
  ONE {{ jetstream: enabled, users: [ {users} ] }}
  $SYS {{ users: [ {{ user: "system", password: "psystem" }} ] }}
}}
"""


class Site:
    """A server on which `globex` works and `acme` attacks."""

    def __init__(self, server: EmbeddedServer, *, shared: bool) -> None:
        self.server, self.shared = server, shared

    async def open(
        self, tenant: str, role: str = "worker", *, password: str | None = None
    ) -> Connection:
        settings = ConnectionSettings(
            servers=(self.server.url,),
            user=tenant if role == "agents" else f"{tenant}-{role}",
            password=PASSWORD.format(tenant) if password is None else password,
            inbox_prefix="_INBOX" if role == "agents" else f"_INBOX_{tenant}",
            request_timeout=1.0,
        )
        return await Connection.open(settings)


@asynccontextmanager
async def site(
    monkeypatch: pytest.MonkeyPatch, store: str, *, shared: bool = False
) -> AsyncIterator[Site]:
    port = free_port()
    if shared:
        users = ", ".join(shared_user(tenant) for tenant in ("acme", "globex"))
        users += f', {{ user: "operator-worker", password: "{PASSWORD.format("operator")}" }}'
        config = SHARED.format(store=store, users=users)
    else:
        wanted = tenants(port, store)
        for name in wanted.variables():
            monkeypatch.setenv(name, PASSWORD.format(name.split("_")[1].lower()))
        # For the attack on connections: the server's own limit, which no tenant may use up.
        config = f"max_connections: 20\n{server_config(wanted)}"
    async with EmbeddedServer(port=port, config=config) as server:
        yield Site(server, shared=shared)
