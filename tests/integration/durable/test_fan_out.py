"""Ten thousand messages from one node, with its worker killed in the middle of handing them out."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from penguiflow.durable.audit import audit_trace
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Kind
from penguiflow.durable.topology import everything
from penguiflow_nats import runtime
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from tests.integration.durable import app
from tests.integration.durable.conftest import Process, StartWorker

MOST = app.COUNT * app.SIZE * 3 // 2
"""Bytes by which a worker may grow. All that is emitted would be held twice, as values and packed,
which is a third more. What must be held does not grow with it: the outputs that wait for a part,
the parts on their way, and the entries on their way."""


def memory(process: Process, what: str) -> int:
    """Bytes of a process: `VmRSS` now, `VmHWM` at most so far."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


async def held(log: JetStreamLog) -> int:
    """Entries in the log."""
    return (await log.jetstream.stream_info(log.names.log_stream)).state.messages


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_kill_in_the_middle_of_ten_thousand_outputs_loses_and_doubles_none(
    server: EmbeddedServer, start: StartWorker
) -> None:
    dying = await start("fan", "split")
    before = memory(dying, "VmRSS")
    async with runtime.client(app.fan(), server.url) as client:
        log = client.log
        assert isinstance(log, JetStreamLog)
        trace = await client.emit(app.message(app.COUNT))
        while await held(log) < app.COUNT // 3:
            await asyncio.sleep(0.005)
        assert memory(dying, "VmHWM") - before < MOST
        dying.kill()
        await dying.wait()
        assert app.COUNT // 3 <= await held(log) < app.COUNT
        again = await start("fan", "split")
        for _ in range(2):
            await start("fan", "first_of,join,total")
        result = await client.fetch(trace_id=trace, timeout=200)
        assert result.payload == sum(range(app.COUNT))
        async with asyncio.timeout(60):
            while await client.status(trace) is not TraceStatus.COMPLETED:
                await asyncio.sleep(0.1)
        assert memory(again, "VmHWM") - before < MOST
        entries = await log.read(everything(trace))
    kinds = Counter((entry.key.kind, entry.key.node) for entry in entries)
    assert kinds == {
        (Kind.INGRESS, ""): 1,
        (Kind.RECORD, "split"): 1,
        (Kind.OUTPUT, "first_of"): app.COUNT,
        (Kind.RECORD, "first_of"): app.COUNT,
        (Kind.RECORD, "join"): 1,
        (Kind.RECORD, "total"): 1,
    }
    audit = audit_trace(trace, entries, now=log.server_time(), joins=["join"])
    assert audit.findings == []
