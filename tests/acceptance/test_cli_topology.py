"""`penguiflow topology`: the plan as a diff, applied and verified."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penguiflow.cli.loading import load_flow
from penguiflow_nats import runtime
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.stream_types import SECOND
from tests.acceptance.cli_process import FLOW, run, running

LOG = "PF_default_0"


async def test_a_topology_is_planned_applied_and_verified(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOW)
    async with EmbeddedServer() as server, runtime.connected(server.url) as connection:

        def topology(action: str, *more: str) -> Any:
            given = ("flows:doubling", "--nats", server.url, *more)
            return run("topology", action, *given, cwd=tmp_path)

        planned = topology("plan")
        assert (planned.returncode, planned.stderr) == (0, "")
        assert planned.stdout.splitlines() == [
            "+ stream PF_default_0",
            "+ stream PF_default_CHUNKS",
            "+ stream PF_default_DLQ",
            "+ consumer doubling-1=double",
            "+ consumer doubling-1=rest",
            "+ consumer doubling-1=_timers",
            "topology: 6 to create",
        ]
        assert topology("verify").returncode == 1
        assert topology("apply").stdout.splitlines()[-1] == "topology: 6 created"
        same = topology("verify")
        assert (same.returncode, same.stdout) == (0, "topology: as the flow needs it\n")

        lease = topology("verify", "--lease", "20")
        assert lease.returncode == 1
        assert "~ consumer doubling-1=double: ack_wait is 15 s, needed is 20 s" in lease.stdout

        jetstream = JetStream(connection)
        config = (await jetstream.stream_info(LOG)).config
        wider = msgspec.structs.replace(config, subjects=[*config.subjects, "foreign.>"])
        await jetstream.update_stream(wider)
        assert topology("plan").returncode == 1
        refused = topology("apply", "--lease", "20")
        assert refused.returncode == 1
        assert "subjects is pf.v1.default.0.>, foreign.>, needed is pf.v1.default.0.>" in (
            refused.stderr
        )
        info = await jetstream.consumer_info(LOG, "doubling-1=double")
        assert info.config.ack_wait == 15 * SECOND


@pytest.mark.slow
async def test_a_worker_that_may_only_verify_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOW)
    async with EmbeddedServer() as server:
        given = ("flows:doubling", "--nats", server.url)
        done = run("worker", *given, "--provision", "verify", cwd=tmp_path)
        assert done.returncode == 1
        assert "there is no stream PF_default_0" in done.stderr
        bad = run("worker", *given, "--provision", "maybe", cwd=tmp_path)
        assert bad.returncode == 2
        assert run("topology", "apply", *given, cwd=tmp_path).returncode == 0
        env = {"PENGUIFLOW_PROVISION": "off"}
        async with running("worker", *given, cwd=tmp_path, env=env) as worker:
            await worker.line("ready")
            worker.signal()
            assert await worker.status() == 0


@pytest.mark.slow
async def test_inputs_of_a_renamed_node_are_counted_and_moved(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOW)
    (tmp_path / "renamed.py").write_text(FLOW.replace("async def rest", "async def sleep").replace(
        "node(rest)", "node(sleep)"
    ))  # fmt: skip
    flow = load_flow(f"{tmp_path / 'flows.py'}:doubling")
    new = load_flow(f"{tmp_path / 'renamed.py'}:doubling")
    async with EmbeddedServer() as server:

        def topology(action: str, *more: str) -> Any:
            given = ("renamed:doubling", *more, "--nats", server.url)
            return run("topology", action, *given, cwd=tmp_path)

        async with runtime.worker(flow, server.url):
            pass
        async with (
            runtime.worker(flow, server.url, nodes=["double"]),
            runtime.client(flow, server.url) as client,
        ):
            trace_id = await client.emit(2)
            async with asyncio.timeout(30):
                while len((await client.books(trace_id)).entries) < 2:
                    await asyncio.sleep(0.05)
        found = topology("verify")
        assert found.returncode == 1
        assert "? node rest: 1 inputs wait that nobody reads" in found.stdout
        assert "the flow has no node nobody" in topology("move", "rest", "nobody").stderr
        dry = topology("move", "rest", "sleep", "--dry-run")
        assert "1 inputs of node rest would go to sleep" in dry.stdout
        moved = topology("move", "rest", "sleep")
        assert moved.stdout.splitlines() == [
            "topology: 1 inputs of node rest went to sleep",
            "topology: consumer doubling-1=rest is removed",
        ]
        async with runtime.worker(new, server.url), runtime.client(new, server.url) as client:
            assert await client.fetch(trace_id=trace_id, timeout=30) == 4
        assert topology("verify").returncode == 0
