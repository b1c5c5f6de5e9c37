"""The generated configuration: the server takes it, and each user may do its work and no more."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import nkeys
import pytest

from penguiflow import Node, NodePolicy, create
from penguiflow_nats import runtime
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ConnectFailed, NoResponders, PermissionDenied
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer, find_server, free_port
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage
from penguiflow_nats.tenancy import TenantSpec, UserSpec, read_tenants
from penguiflow_nats.tenancy_config import server_config
from tests.acceptance.cli_process import run
from tests.integration.tenants.site import PASSWORD, Site, site, tenants
from tests.support.certificates import make_certificate
from tests.support.eventually import eventually

DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "nats"
SMALL = Storage(log_bytes=20_000_000, dlq_bytes=5_000_000, chunk_bytes=5_000_000)


async def double(value: Any, ctx: Any) -> Any:
    await ctx.emit_chunk(text=str(value)) if value == "stream" else None
    return value * 2


async def rest(value: Any, ctx: Any) -> Any:
    return value


def flow() -> Any:
    policy = NodePolicy(validate="none")
    first = Node(double, name="double", policy=policy)
    return create(first.to(Node(rest, name="rest", policy=policy)), name="doubling")


@pytest.fixture
async def accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    async with site(monkeypatch, str(tmp_path)) as opened:
        yield opened


def test_the_example_is_what_the_command_makes_of_its_list(tmp_path: Path) -> None:
    done = run("tenants", "config", str(DEPLOY / "tenants.toml"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") + "\n" == (DEPLOY / "nats.conf").read_text()


def test_the_server_takes_the_example(tmp_path: Path) -> None:
    make_certificate(tmp_path, certificate="server.pem", key="server-key.pem")
    config = (DEPLOY / "nats.conf").read_text().replace("/etc/penguiflow/tls", str(tmp_path))
    (tmp_path / "nats.conf").write_text(config)
    names = read_tenants((DEPLOY / "tenants.toml").read_text()).variables()
    checked = subprocess.run(
        [str(find_server()), "-t", "-c", "nats.conf"],
        cwd=tmp_path,
        env=dict.fromkeys(names, "p1"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('[[tenant]]\nname = "a"\n')
    arguments = ("tenants", "config", "t.toml", "--secrets", "nats.env")
    assert run(*arguments, cwd=tmp_path).returncode == 0
    first = (tmp_path / "nats.env").read_text()
    assert (tmp_path / "nats.env").stat().st_mode & 0o077 == 0
    (tmp_path / "t.toml").write_text('[[tenant]]\nname = "a"\n[[tenant]]\nname = "b"\n')
    assert run(*arguments, cwd=tmp_path).returncode == 0
    second = (tmp_path / "nats.env").read_text()
    assert second.startswith(first)
    assert "PENGUIFLOW_B_WORKER=p" in second
    (tmp_path / "t.toml").write_text('[[tenant]]\nname = "b"\n')
    told = run(*arguments, cwd=tmp_path).stderr
    assert "nobody uses any more: PENGUIFLOW_A_APP, PENGUIFLOW_A_WORKER" in told


def test_a_bad_list_is_refused_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('[[tenant]]\nname = "a"\ndisk = "much"\n')
    done = run("tenants", "config", "t.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: t.toml: tenant 'a': disk: 'much' is no size; write it as 512MB or 20GB\n"
    )


async def test_an_app_submits_fetches_streams_and_cancels_through_its_worker(
    accounts: Site,
) -> None:
    worker, app = await accounts.open("acme"), await accounts.open("acme", "app")
    async with (
        worker,
        app,
        runtime.worker(flow(), worker, tenant="acme", storage=SMALL),
        runtime.client(flow(), app, tenant="acme", storage=SMALL) as client,
    ):
        trace = await client.emit(21)
        assert await client.fetch(trace_id=trace, timeout=10) == 42
        assert await client.cancel(trace) is False  # it is over
    async with runtime.client(
        flow(), app2 := await accounts.open("acme", "app"), tenant="acme"
    ) as c:
        waiting = await c.emit(1)
        assert await c.cancel(waiting) is True
    await app2.close()


async def test_an_app_may_do_nothing_else(accounts: Site) -> None:
    async with (
        await accounts.open("acme") as worker,
        runtime.worker(flow(), worker, tenant="acme", storage=SMALL),
        await accounts.open("acme", "app") as app,
    ):
        js = JetStream(app)
        forbidden = [
            js.append("pf.v1.acme.0.doubling-1.rec.t.double.i", b"forged"),
            js.append("pf.v1.acme.0.doubling-1.out.t._egress.o", b"forged"),
            js.append("pf.v1.acme.dlq.doubling-1.double.t.i", b"forged"),
            js.append("pf.v1.acme.chunk.doubling-1.t", b"forged"),
            js.delete_stream("PF_acme_0"),
            js.stream_names(),
            js.consumer_names("PF_acme_0"),
            js.get_last("PF_acme_DLQ", "pf.v1.acme.dlq.>"),
            js.delete_consumer("PF_acme_0", "doubling-1=double"),
        ]
        for request in forbidden:
            with pytest.raises(PermissionDenied):
                await request
        everything = app.subscribe("pf.v1.acme.>", lambda message: None)
        await app.flush()
        await eventually(lambda: everything.denied)


async def test_a_shared_agent_hears_whose_call_it_is(accounts: Site) -> None:
    async with (
        await accounts.open("agents", "agents") as agents,
        await accounts.open("acme", "app") as acme,
        await accounts.open("globex", "app") as globex,
    ):
        for tenant in ("acme", "globex"):

            def answer(message: Any, tenant: str = tenant) -> None:
                for part in (tenant, message.data.decode()):  # a streamed reply: two messages
                    agents.publish(message.reply, part.encode())

            if tenant == "acme":
                agents.subscribe(f"pf.v1.{tenant}.ask.summary", answer)
        await agents.flush()
        heard: list[bytes] = []

        def receive(reply: Any) -> bool:
            heard.append(reply.data)
            return len(heard) == 2

        await acme.request_many("pf.v1.acme.ask.summary", b"x", receive=receive)
        assert heard == [b"acme", b"x"]
        with pytest.raises(NoResponders):
            await globex.request("pf.v1.globex.ask.summary", b"x")
        with pytest.raises(PermissionDenied):
            await globex.request("pf.v1.acme.ask.summary", b"x")


async def test_nobody_comes_in_without_its_own_password(accounts: Site) -> None:
    with pytest.raises(ConnectFailed):
        await accounts.open("globex", password=PASSWORD.format("acme"))


def test_a_user_may_be_known_by_an_nkey() -> None:
    key = "U" + "A" * 55
    text = f'[[tenant]]\nname = "a"\nworker = {{ nkey = "{key}" }}\n'
    read = read_tenants(text)
    assert f'nkey: "{key}"' in server_config(read)
    assert "PENGUIFLOW_A_WORKER" not in read.variables()


async def test_a_tenant_is_added_while_another_one_works(tmp_path: Path) -> None:
    secrets = "".join(
        f"PENGUIFLOW_{name}_{role}={PASSWORD.format(name.lower())}\n"
        for name in ("ACME", "GLOBEX")
        for role in ("WORKER", "APP")
    )
    port = free_port()
    wanted = tenants(port, str(tmp_path), 'secrets_file = "nats.env"', disk="300MB")
    server = EmbeddedServer(port=port, config=server_config(wanted))
    beside = server.log_file.parent
    secrets += "PENGUIFLOW_SYSTEM=p1\nPENGUIFLOW_AGENTS=p2\n"
    (beside / "nats.env").write_text(secrets)
    async with server:
        opened = Site(server, shared=False)
        with pytest.raises(ConnectFailed):
            await opened.open("late")
        async with await opened.open("acme") as acme:
            late = [*wanted.tenant, TenantSpec(name="late", disk="1MB")]
            config = server_config(msgspec.structs.replace(wanted, tenant=late))
            more = "PENGUIFLOW_LATE_WORKER=plate-secret\nPENGUIFLOW_LATE_APP=p3\n"
            (beside / "nats.env").write_text(secrets + more)
            (beside / "server.conf").write_text(config)
            os.kill(server.pid, signal.SIGHUP)
            await eventually(lambda: "Reloaded server configuration" in server.log_tail())
            async with await opened.open("late") as connection:
                assert (await JetStream(connection).account_info()).limits.max_storage == 1 << 20
            await acme.flush()
            assert acme.statistics.reconnects == 0


async def test_an_nkey_opens_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    (tmp_path / "seed").write_bytes(seed)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    port = free_port()
    wanted = tenants(port, str(tmp_path))
    first = msgspec.structs.replace(wanted.tenant[0], worker=UserSpec(nkey=public))
    wanted = msgspec.structs.replace(wanted, tenant=[first, wanted.tenant[1]])
    for name in wanted.variables():
        monkeypatch.setenv(name, "p1")
    async with EmbeddedServer(port=port, config=server_config(wanted)) as server:
        settings = ConnectionSettings(servers=(server.url,), nkey_seed=str(tmp_path / "seed"))
        async with await Connection.open(settings) as connection:
            limits = (await JetStream(connection).account_info()).limits
            assert limits.max_storage == 100 << 20
