"""The generated configuration of a cluster: servers find each other, and streams have replicas."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, NoResponders, OutcomeUnknown
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer, free_port
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.stream_types import StreamConfig
from penguiflow_nats.tenancy import BadTenants, read_tenants
from penguiflow_nats.tenancy_config import server_config
from tests.integration.tenants.site import LIST, PASSWORD

DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "nats"


async def test_three_servers_form_a_cluster_with_replicated_streams(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    routes = [free_port() for _ in range(3)]
    servers = []
    for number, route in enumerate(routes, start=1):
        port = free_port()
        cluster = (
            f'\n[server.cluster]\nlisten = "127.0.0.1:{route}"\n'
            f"routes = {[f'127.0.0.1:{each}' for each in routes]}\n"
        )
        text = LIST.format(port=port, store=tmp_path / str(number), server=cluster, disk="200MB")
        wanted = read_tenants(text, node=f"n{number}")
        for name in wanted.variables():
            monkeypatch.setenv(name, PASSWORD.format(name.split("_")[1].lower()))
        servers.append(EmbeddedServer(port=port, config=server_config(wanted)))
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
        settings = ConnectionSettings(
            servers=tuple(server.url for server in servers),
            user="acme-worker",
            password=PASSWORD.format("acme"),
        )
        connection = await stack.enter_async_context(await Connection.open(settings))
        config = StreamConfig(name="S", subjects=["s.>"], num_replicas=3, max_bytes=1_000_000)
        async with asyncio.timeout(45):
            while True:  # until the cluster has its leader
                try:
                    await JetStream(connection).create_stream(config)
                except (ApiError, NoResponders, OutcomeUnknown):
                    await asyncio.sleep(0.1)
                else:
                    break
        info = await JetStream(connection).stream_info("S")
        assert info.config.num_replicas == 3


def test_the_example_of_a_cluster_is_one_configuration_for_each_server() -> None:
    text = (DEPLOY / "cluster.toml").read_text()
    configs = [server_config(read_tenants(text, node=f"nats-{n}")) for n in (1, 2, 3)]
    assert len(set(configs)) == 3
    assert all(config.count("nats://nats-") == 3 for config in configs)
    assert len({config.replace(f'"nats-{n}"', "") for n, config in enumerate(configs, 1)}) == 1


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ('["a:1", "b:1", "c:1"]', "needs server.tls with ca_file"),
        ('["127.0.0.1:1", "127.0.0.1:2"]', "has three"),
        ('["127.0.0.1:1", "127.0.0.1:2", "nats://c"]', "write host and port"),
    ],
)
def test_a_cluster_that_could_not_be_is_refused(routes: str, said: str) -> None:
    with pytest.raises(BadTenants, match=said):
        read_tenants(f'[server.cluster]\nroutes = {routes}\n[[tenant]]\nname = "a"\n')
