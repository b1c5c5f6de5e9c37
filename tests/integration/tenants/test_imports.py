"""One process serves many tenants over one connection, and they stay apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from penguiflow import Headers, Message, Node, NodePolicy, StoredEvent, create
from penguiflow.core import TraceCancelled
from penguiflow_nats import NatsStateStore, NatsTransport, imported, redriver, runtime, serve
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NoResponders, NotImported, WrongTenant
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.log import JetStreamLog
from tests.integration.tenants.imports_site import SMALL, SharedSite, shared_site
from tests.support.eventually import eventually

TENANTS = ("acme", "globex", "initech")
PLAIN = NodePolicy(validate="none")
LARGE = "x" * 900_000


began, ended = asyncio.Event(), asyncio.Event()


async def work(message: Message, ctx: Any) -> Message:
    value = message.payload
    if value == "broken":
        raise ValueError(value)
    if value == "hang":
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
    return message.model_copy(update={"payload": f"{message.headers.tenant}:{value}"})


async def rest(message: Message, ctx: Any) -> Message:
    if str(message.payload).endswith(":stream"):
        await ctx.emit_chunk(parent=message, text="a")
        await ctx.emit_chunk(parent=message, text="b", done=True)
    return message


def sent(tenant: str, value: Any) -> Message:
    return Message(payload=value, headers=Headers(tenant=tenant))


def flow() -> Any:
    first = Node(work, name="work", policy=PLAIN)
    return create(first.to(Node(rest, name="rest", policy=PLAIN)), name="shared")


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[SharedSite]:
    async with shared_site(monkeypatch, str(tmp_path), TENANTS) as opened:
        yield opened


@pytest.fixture
async def shared(place: SharedSite) -> AsyncIterator[Connection]:
    """The one connection, over which all tenants are served."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await place.workers())
        for tenant in TENANTS:
            hosted = runtime.worker(
                flow(), imported(connection, tenant), tenant=tenant, storage=SMALL
            )
            await stack.enter_async_context(hosted)
        yield connection


async def test_each_tenant_is_served_by_the_one_process(
    place: SharedSite, shared: Connection
) -> None:
    async with AsyncExitStack() as stack:
        for tenant in TENANTS:
            app = await stack.enter_async_context(await place.app(tenant))
            client = await stack.enter_async_context(
                runtime.client(flow(), app, tenant=tenant, storage=SMALL)
            )
            for value in ("small", LARGE):
                result = await client.round_trip(sent(tenant, value), timeout=30)
                assert result.payload == f"{tenant}:{value}"
            *chunks, end = [
                each async for each in client.stream(sent(tenant, "stream"), timeout=30)
            ]
            assert [chunk.text for chunk in chunks] == ["a", "b"]
            assert end.payload == f"{tenant}:stream"


async def test_a_client_in_the_workers_account_sees_the_same(shared: Connection) -> None:
    own = imported(shared, "acme")
    async with runtime.client(flow(), own, tenant="acme", storage=SMALL) as client:
        traces = [await client.emit(sent("acme", number)) for number in range(100)]
        for number, trace in enumerate(traces):
            result = await client.fetch(trace_id=trace, timeout=30)
            assert result.payload == f"acme:{number}"
        *chunks, _ = [each async for each in client.stream(sent("acme", "stream"), timeout=30)]
        assert [chunk.text for chunk in chunks] == ["a", "b"]
        assert await client.cancel(traces[0]) is False


async def test_a_cancel_in_the_tenants_account_stops_a_node_of_the_shared_worker(
    place: SharedSite, shared: Connection
) -> None:
    began.clear()
    ended.clear()
    async with (
        await place.app("acme") as app,
        runtime.client(flow(), app, tenant="acme", storage=SMALL) as client,
        asyncio.timeout(60),
    ):
        trace = await client.emit(sent("acme", "hang"))
        await began.wait()
        assert await client.cancel(trace) is True
        await ended.wait()
        with pytest.raises(TraceCancelled):
            await client.fetch(trace_id=trace, timeout=30)


async def test_the_server_comes_back_and_all_tenants_are_served_again(
    place: SharedSite, shared: Connection
) -> None:
    await place.server.kill()
    await place.server.start()
    for tenant in TENANTS:
        own = imported(shared, tenant)
        async with runtime.client(flow(), own, tenant=tenant, storage=SMALL) as client:
            result = await client.round_trip(sent(tenant, 1), timeout=60)
            assert result.payload == f"{tenant}:1"


async def test_writes_go_in_batches_over_imports_too(shared: Connection) -> None:
    log = await JetStreamLog.open(imported(shared, "acme"), tenant="acme", flow="x", storage=SMALL)
    log.writes.begin(singles=1.0)
    writes = [log.writes.send(f"{log.names.log_root}.in.t.n.{n}", b"x", None) for n in range(64)]
    assert [(await write).seq for write in writes] == list(range(1, 65))
    assert log.writes.batches == 1


async def test_a_dead_letter_lies_in_its_tenant(shared: Connection) -> None:
    async with runtime.client(
        flow(), imported(shared, "globex"), tenant="globex", storage=SMALL
    ) as client:
        await client.emit(sent("globex", "broken"))

    async def letters(tenant: str) -> int:
        async with redriver(flow(), imported(shared, tenant), tenant=tenant) as box:
            return len([letter async for letter in box.letters.scan()])

    async with asyncio.timeout(30):
        while await letters("globex") == 0:
            await asyncio.sleep(0.02)
    assert [await letters(tenant) for tenant in ("acme", "initech")] == [0, 0]


async def test_the_state_of_a_tenant_lies_in_its_account(
    place: SharedSite, shared: Connection
) -> None:
    event = StoredEvent(
        trace_id="t" * 32, ts=1.0, kind="node_success", node_name="n", node_id="n", payload={}
    )
    async with NatsStateStore(imported(shared, "acme"), tenant="acme") as store:
        await store.save_event(event)
        assert await store.load_history(event.trace_id) == [event]
    async with await place.open("acme-worker") as own, NatsStateStore(own, tenant="acme") as store:
        assert await store.load_history(event.trace_id) == [event]
    async with await place.open("globex-worker") as other:
        assert not [n for n in await JetStream(other).stream_names() if n.startswith("KV_")]


# Apart


async def test_a_connection_of_one_tenant_is_refused_for_another(shared: Connection) -> None:
    acme = imported(shared, "acme")
    with pytest.raises(WrongTenant, match="globex"):
        async with runtime.worker(flow(), acme, tenant="globex", storage=SMALL):
            pass
    with pytest.raises(WrongTenant, match="globex"):
        await NatsStateStore(acme, tenant="globex").open()
    for subject in ("pf.v1.globex.0.f.in.t.n.i", "JS.globex.API.INFO", "_INBOX.x"):
        with pytest.raises(NotImported):
            acme.publish(subject, b"x")
    with pytest.raises(NotImported):
        acme.subscribe("JS.globex.HEAR.>", lambda message: None)
    with pytest.raises(TypeError, match="not another import"):
        imported(acme, "globex")


async def test_a_tenant_reaches_neither_another_nor_the_workers(
    place: SharedSite, shared: Connection
) -> None:
    heard: list[str] = []
    for each in TENANTS[1:]:
        imported(shared, each).subscribe(
            f"pf.v1.{each}.ctl.>", lambda message: heard.append(message.subject)
        )
    await shared.flush()
    async with await place.open("acme-worker") as acme:
        for subject in (
            "JS.globex.API.INFO",
            "JS.globex.API.STREAM.NAMES",
            "pf.v1.globex.0.shared-1.in.t.n.i",
            "pf.v1.globex.ctl.shared-1.cancel",
        ):
            with pytest.raises(NoResponders):
                await acme.request(subject, b"x")
        for subject in (
            "JS.globex.ACK.PF_globex_0.shared-1=work.1.1.1.1.0",
            "JS.globex.HEAR.pf.v1.globex.ctl.shared-1.cancel",
            "pf.v1.globex.ctl.shared-1.cancel",
        ):
            acme.publish(subject, b"+ACK")
        await acme.flush()
        names = await JetStream(acme).stream_names()
        assert all(name.startswith("PF_acme_") for name in names)
    await shared.flush()
    assert heard == []


async def test_a_forged_way_to_settle_stays_in_the_tenant_that_forged_it(
    place: SharedSite,
) -> None:
    """`acme` answers a pull of its workers itself, naming a delivery of `globex` as its own."""
    settled: list[str] = []
    pulls: list[str] = []
    async with (
        await place.open("acme-worker") as acme,
        await place.open("globex-worker") as globex,
        await place.workers() as connection,
    ):
        acme.subscribe("$JS.ACK.>", lambda message: settled.append(f"acme {message.subject}"))
        globex.subscribe("$JS.ACK.>", lambda message: settled.append(f"globex {message.subject}"))
        acme.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", lambda message: pulls.append(message.reply))
        await acme.flush()
        await globex.flush()
        own = imported(connection, "acme")
        async with runtime.worker(flow(), own, tenant="acme", storage=SMALL):
            await eventually(lambda: pulls, timeout=30)
            ack = "PF_globex_0.shared-1=work.1.1.1.1.0"
            for prefix in ("JS.globex.ACK.", "$JS.ACK.", "JS.acme.ACK."):
                for inbox in pulls:
                    acme.publish(inbox, b"not an entry", reply=prefix + ack)
            await acme.flush()
            async with runtime.client(flow(), acme, tenant="acme", storage=SMALL) as client:
                result = await client.round_trip(sent("acme", 1), timeout=30)
                assert result.payload == "acme:1"
            await eventually(lambda: settled, timeout=30)
        await connection.flush()
        await globex.flush()
        assert all(line.startswith("acme $JS.ACK.PF_acme_0.") for line in settled)


async def test_what_does_not_go_over_imports_is_refused_at_once(shared: Connection) -> None:
    async def answer(message: Any, ctx: Any) -> Any:
        return message

    acme = imported(shared, "acme")
    with pytest.raises(NotImported, match="serving an agent"):
        async with serve(answer, acme, tenant="acme", agent="a"):
            pass
    transport = NatsTransport(acme, tenant="acme")
    with pytest.raises(NotImported, match="calling an agent"):
        await transport._site()
    await transport.close()


def memory(pid: int | str) -> int:
    """Resident kilobytes of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def test_a_hundred_tenants_over_one_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"tenant-{number}" for number in range(100)]
    async with shared_site(monkeypatch, str(tmp_path), names) as place, AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await place.workers())
        before, began = (memory("self"), memory(place.server.pid)), time.monotonic()
        for name in names:
            own = imported(connection, name)
            await stack.enter_async_context(runtime.worker(flow(), own, tenant=name, storage=SMALL))
        took = time.monotonic() - began
        after = memory("self"), memory(place.server.pid)
        for name in (names[0], names[-1]):
            own = imported(connection, name)
            async with runtime.client(flow(), own, tenant=name, storage=SMALL) as client:
                result = await client.round_trip(sent(name, 1), timeout=30)
                assert result.payload == f"{name}:1"
        with capsys.disabled():
            print(
                f"\n100 tenants over one connection: {took:.1f} s to start, "
                f"{(after[0] - before[0]) / 100:.0f} kB each in the worker, "
                f"{(after[1] - before[1]) / 100:.0f} kB each in the server"
            )
