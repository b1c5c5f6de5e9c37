"""`penguiflow history`: what it prints of a state store on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penguiflow.state.records import StoredEvent
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.state_store import NatsStateStore
from tests.acceptance.cli_process import run


def event(number: int, kind: str = "node_success") -> StoredEvent:
    payload = {"n": number, "odd": {1, 2}} if number == 0 else {"n": number}
    return StoredEvent("t", float(number), kind, "node", "id", payload, event_id=f"e{number}")


@pytest.mark.slow
async def test_a_history_is_printed_in_order_and_can_be_followed(tmp_path: Path) -> None:
    async with EmbeddedServer() as server:
        asked = ("history", "t", "--nats", server.url)
        none = run(*asked, cwd=tmp_path)
        assert (none.returncode, none.stdout) == (1, "")
        assert "has no state store on this server" in none.stderr
        async with NatsStateStore(server.url, tenant="default") as store:
            for number in range(3):
                await store.save_event(event(number))
            done = run(*asked, cwd=tmp_path)
            assert (done.returncode, done.stderr) == (0, "")
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert [line["payload"]["n"] for line in lines] == [0, 1, 2]
            assert [line["event_id"] for line in lines] == ["e0", "e1", "e2"]
            assert lines[0]["recorded_at"].endswith("+00:00")

            rest = run(*asked, "--after", str(lines[1]["sequence"]), cwd=tmp_path)
            assert json.loads(rest.stdout)["event_id"] == "e2"

            await store.save_event(event(3, "trace_cancel_finish"))
            followed = run(*asked, "--follow", cwd=tmp_path)  # ends, since the trace has ended
            assert followed.returncode == 0
            assert len(followed.stdout.splitlines()) == 4
            unknown = run("history", "nobody", "--nats", server.url, cwd=tmp_path)
            assert unknown.returncode == 1
            assert "has nothing of trace nobody" in unknown.stderr
