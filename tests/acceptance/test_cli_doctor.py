"""`penguiflow doctor`: what it says, in which form, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

from penguiflow.cli.loading import load_flow
from penguiflow_nats import runtime
from penguiflow_nats.server import EmbeddedServer, free_port
from tests.acceptance.cli_process import FLOW, run


async def test_a_flow_that_works_has_no_error_and_one_that_waits_has(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOW)
    flow = load_flow(f"{tmp_path / 'flows.py'}:doubling")
    port = free_port()
    async with EmbeddedServer(config=f'http: "127.0.0.1:{port}"') as server:
        asked = ("--flow", "flows:doubling", "--nats", server.url, "--sample", "0")
        asked = (*asked, "--monitor", f"http://127.0.0.1:{port}")
        async with (
            runtime.worker(flow, server.url),
            runtime.client(flow, server.url) as client,
        ):
            await client.fetch(trace_id=await client.emit(1), timeout=20)
            good = run("doctor", *asked, cwd=tmp_path)
        assert good.returncode == 0, good.stdout
        assert "warning server-open: server: it lets everybody in" in good.stdout
        assert "\n    fix: " in good.stdout
        assert good.stdout.splitlines()[-1].startswith("doctor: 0 errors, ")

        async with runtime.client(flow, server.url) as client:
            await client.emit(1)
        bad = run("doctor", *asked, "--json", cwd=tmp_path)
    assert bad.returncode == 1
    found = json.loads(bad.stdout)
    assert found[0].keys() == {"id", "severity", "where", "evidence", "fix"}
    assert found[0]["id"] == "backlog-unserved"
    assert found[0]["severity"] == "error"


def test_no_server_and_no_monitoring_are_said(tmp_path: Path) -> None:
    done = run("doctor", "--nats", f"nats://127.0.0.1:{free_port()}", cwd=tmp_path)
    assert done.returncode == 1
    assert "start a nats-server" in done.stderr


async def test_a_monitoring_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with EmbeddedServer() as server:
        asked = ("--nats", server.url, "--monitor", f"http://127.0.0.1:{free_port()}")
        done = run("doctor", *asked, cwd=tmp_path)
    assert done.returncode == 1
    assert "the monitoring at http://" in done.stderr
