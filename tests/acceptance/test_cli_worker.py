"""`penguiflow worker`: ready, at work, drained, and the words when it cannot be."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penguiflow import PenguiFlow
from penguiflow.cli.loading import load_flow
from penguiflow.durable.client import DurableClient
from penguiflow_nats import runtime
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from tests.acceptance.cli_process import FLOW, run, running


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of flows in it."""
    (tmp_path / "flows.py").write_text(FLOW)
    return tmp_path


@pytest.fixture
def doubling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> PenguiFlow:
    return flow_of(folder, "doubling", monkeypatch)


def flow_of(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> PenguiFlow:
    monkeypatch.syspath_prepend(str(folder))
    return load_flow(f"{folder / 'flows.py'}:{name}")


async def fetch(client: DurableClient, value: object) -> object:
    return await client.round_trip(value, timeout=20)


async def test_it_says_that_it_is_ready_works_and_drains_on_sigterm(
    server: EmbeddedServer, folder: Path, doubling: PenguiFlow
) -> None:
    async with (
        running("worker", "flows:doubling", "--nats", server.url, cwd=folder) as worker,
        runtime.client(doubling, server.url) as client,
    ):
        ready = await worker.line(" ready: ")
        assert re.fullmatch(
            r"worker \S+ ready: nodes double, rest, tenant default, flow doubling-1", ready
        )
        assert await fetch(client, 21) == 42
        worker.signal()
        assert await worker.status() == 0


async def test_options_come_from_the_environment_and_a_worker_hosts_named_nodes_of_a_tenant(
    server: EmbeddedServer, folder: Path, doubling: PenguiFlow
) -> None:
    env = {"PENGUIFLOW_NATS_URL": server.url, "PENGUIFLOW_TENANT": "blue"}
    async with (
        running("worker", "flows:doubling", "--nodes", "rest", cwd=folder, env=env) as rest,
        running(
            "worker", "flows.py:doubling", cwd=folder, env={**env, "PENGUIFLOW_NODES": "double"}
        ) as double,
        runtime.client(doubling, server.url, tenant="blue") as client,
    ):
        assert "nodes rest, tenant blue" in await rest.line(" ready: ")
        assert "nodes double, tenant blue" in await double.line(" ready: ")
        assert await fetch(client, 4) == 8


async def test_what_is_in_hand_is_finished_before_it_ends(
    server: EmbeddedServer, folder: Path, doubling: PenguiFlow
) -> None:
    async with (
        running("worker", "flows:doubling", "--nats", server.url, cwd=folder) as worker,
        runtime.client(doubling, server.url) as client,
    ):
        await worker.line(" ready: ")
        trace = await client.emit(0.75)
        await at_work(client, trace)
        worker.signal()
        assert await worker.status() == 0
        assert await client.fetch(trace_id=trace, timeout=1) == 1.5


async def at_work(client: DurableClient, trace: str, records: int = 1) -> None:
    """Wait until so many records of a trace are committed."""
    async with asyncio.timeout(20):
        while len((await client.books(trace)).entries) < 1 + records:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("flow", ["doubling", "computing"])
async def test_at_the_drain_limit_it_ends_with_0_and_another_worker_gets_the_rest(
    server: EmbeddedServer, folder: Path, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--nats", server.url, "--drain", "1", "--lease", "1")
    async with (
        running("worker", f"flows:{flow}", *options, cwd=folder) as worker,
        runtime.client(flow_of(folder, flow, monkeypatch), server.url) as client,
    ):
        await worker.line(" ready: ")
        trace = await client.emit(30.0)
        # The computing flow has one node only: there is no record to wait for.
        await (at_work(client, trace) if flow == "doubling" else asyncio.sleep(0.5))
        began = time.monotonic()
        worker.signal()
        assert await worker.status(timeout=15) == 0
        # Far from the 30 s of the node, and even a busy machine is not that slow.
        assert time.monotonic() - began < 10
        assert (await client.status(trace)).value == "running"


async def test_it_drains_in_time_also_while_the_server_is_away(
    server: EmbeddedServer, folder: Path, doubling: PenguiFlow
) -> None:
    options = ("--nats", server.url, "--drain", "2")
    async with running("worker", "flows:doubling", *options, cwd=folder) as worker:
        async with runtime.client(doubling, server.url) as client:
            await worker.line(" ready: ")
            trace = await client.emit(0.5)
            await at_work(client, trace)
            await server.kill()
        worker.signal(signal.SIGINT)
        assert await worker.status(timeout=15) == 0


async def test_a_deleted_consumer_is_named_and_ends_it_with_1(
    server: EmbeddedServer, folder: Path, doubling: PenguiFlow
) -> None:
    async with (
        running("worker", "flows:doubling", "--nats", server.url, cwd=folder) as worker,
        runtime.client(doubling, server.url) as client,
    ):
        await worker.line(" ready: ")
        log = client.log
        assert isinstance(log, JetStreamLog)
        await log.jetstream.delete_consumer(log.names.log_stream, log.names.consumer("rest"))
        line = await worker.line("error: ")
        assert "node rest gets no work any more: consumer doubling-1=rest" in line
        assert await worker.status() == 1


async def test_a_second_signal_ends_it_at_once(
    server: EmbeddedServer, folder: Path, doubling: PenguiFlow
) -> None:
    options = ("--nats", server.url, "--drain", "60")
    async with (
        running("worker", "flows:doubling", *options, cwd=folder) as worker,
        runtime.client(doubling, server.url) as client,
    ):
        await worker.line(" ready: ")
        await at_work(client, await client.emit(50.0))
        worker.signal()
        await worker.line("draining")
        worker.signal()
        assert await worker.status(timeout=10) == 128 + signal.SIGTERM


def test_a_flow_that_cannot_be_distributed_is_refused_with_node_and_reason(folder: Path) -> None:
    done = run("worker", "flows:not_durable", cwd=folder)
    assert done.returncode == 2
    assert "node 'greedy' calls ctx.fetch()" in done.stderr
    assert done.stderr.startswith("error: this flow cannot be spread over workers")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("flows",), "'flows' names no attribute of a module"),
        (("flows:",), "'flows:' names no attribute of a module"),
        (("nowhere:flow",), "there is no module 'nowhere'"),
        (("no/where.py:flow",), "there is no file no/where.py"),
        (("flows:missing",), "'flows:missing' is nothing; needed is a flow"),
        (("flows:double",), "'flows:double' is a function; needed is a flow"),
        (("flows:doubling", "--nodes", "double,treble"), "the flow has no node treble; hint: it"),
        (("flows:doubling", "--registry", "flows:double"), "needed is a ModelRegistry"),
        ((), "the following arguments are required: MODULE:FLOW"),
    ],
)
def test_what_cannot_be_is_refused_with_status_2(
    arguments: tuple[str, ...], words: str, folder: Path
) -> None:
    done = run("worker", *arguments, cwd=folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_module_that_cannot_be_imported_is_a_failure_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text("import nothing_like_that")
    for name in ("flows:flow", "flows.py:flow"):
        done = run("worker", name, cwd=tmp_path)
        assert done.returncode == 1
        assert "cannot be imported: ModuleNotFoundError: No module named 'nothing_like_" in (
            done.stderr
        )


def test_without_a_server_it_fails_with_a_hint(folder: Path) -> None:
    done = run("worker", "flows:doubling", "--nats", "nats://127.0.0.1:9", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot connect to nats://127.0.0.1:9")
    assert "PENGUIFLOW_NATS_URL" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_it_waits_for_a_server_that_is_not_there_yet(
    server: EmbeddedServer, folder: Path
) -> None:
    await server.kill()
    options = ("--nats", server.url, "--wait", "30")
    async with running("worker", "flows:doubling", *options, cwd=folder) as worker:
        await worker.line("waiting for the server")
        await server.start()
        await worker.line(" ready: ")
        worker.signal()
        assert await worker.status() == 0


async def test_a_signal_ends_the_wait_for_a_server(folder: Path) -> None:
    options = ("--nats", "nats://127.0.0.1:9", "--wait", "60")
    async with running("worker", "flows:doubling", *options, cwd=folder) as worker:
        await worker.line("waiting for the server")
        worker.signal()
        assert await worker.status() == 0


async def test_a_file_inside_a_package_may_import_its_neighbours(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    package = tmp_path / "app" / "inner"
    package.mkdir(parents=True)
    for place in (package, package.parent):
        (place / "__init__.py").touch()
    (package / "flows.py").write_text(FLOW)
    (package / "chosen.py").write_text("from ..inner.flows import doubling as flow\n")
    for name in ("app/inner/chosen.py:flow", "app.inner.chosen:flow"):
        async with running("worker", name, "--nats", server.url, cwd=tmp_path) as worker:
            assert "flow doubling-1" in await worker.line(" ready: ")
