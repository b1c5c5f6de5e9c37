"""The estimate of the server's time does not follow this machine's clock."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.settings import ConnectionSettings


async def test_the_estimate_is_close_and_stays_when_this_clock_jumps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with EmbeddedServer() as server:
        connection = await Connection.open(ConnectionSettings(servers=(server.url,)))
        log = await JetStreamLog.open(connection, flow="f")
        real = time.time
        assert log.server_time() == pytest.approx(real(), abs=1.0)
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        assert log.server_time() == pytest.approx(real(), abs=1.0)
        await connection.close()


async def test_a_worse_estimate_does_not_replace_a_better_one_that_agrees() -> None:
    async with EmbeddedServer() as server:
        connection = await Connection.open(ConnectionSettings(servers=(server.url,)))
        clock = ServerClock(connection, "none")
        clock._take(100.0, 0.001)
        clock._take(100.3, 0.5)
        assert clock._offset == 100.0
        clock._take(100.9, 0.5)
        assert clock._offset == 100.9
        clock._take(100.8, 0.01)
        assert clock._offset == 100.8
        await connection.close()


_WORKER = """
    import asyncio, sys, time
    real, ahead = time.time, float(sys.argv[2])
    time.time = lambda: real() + ahead
    from penguiflow import Message, Node, NodePolicy, create
    from penguiflow_nats import worker

    async def left(msg, ctx):
        return msg.model_copy(update={"payload": msg.deadline_s - ctx.now()})

    async def main():
        flow = create(Node(left, policy=NodePolicy(validate="none")).to(), name="skewed")
        async with worker(flow, sys.argv[1]):
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(main())
"""


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_a_worker_process_with_a_wrong_clock_runs_live_work_and_no_other(ahead: int) -> None:
    from penguiflow import Context, FinalAnswer, Headers, Message, Node, NodePolicy, create
    from penguiflow_nats import client

    async def left(msg: Message, ctx: Context) -> Message:
        return msg

    flow = create(Node(left, policy=NodePolicy(validate="none")).to(), name="skewed")
    headers = Headers(tenant="default")
    async with EmbeddedServer() as server:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_WORKER), server.url, str(ahead)],
            stdin=subprocess.PIPE,
            env=os.environ,
        )
        try:
            async with client(flow, server.url) as opened:
                live = Message(payload=0, headers=headers, deadline_s=time.time() + 120)
                result = await opened.round_trip(live, timeout=60)
                assert 0 < result.payload < 121
                late = Message(payload=0, headers=headers, deadline_s=time.time() - 1)
                result = await opened.round_trip(late, timeout=60)
                assert result.payload == FinalAnswer(text="Deadline exceeded")
        finally:
            process.kill()
            process.communicate()
