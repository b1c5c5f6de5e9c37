"""Five processes export to one receiver; the trace is found by the flow's id and is whole."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from penguiflow import FlowError, Headers, Message
from penguiflow.durable.client import DurableClient
from penguiflow.errors import TraceCancelled
from penguiflow.telemetry import setup
from penguiflow_nats import runtime
from penguiflow_nats.server import EmbeddedServer
from tests.acceptance.cli_process import COMMANDS, ROOT
from tests.support.eventually import eventually
from tests.telemetry.receiver import Received, Receiver

CLIENT, SERVER, CONSUMER = 3, 2, 5
ERROR, UNSET = 2, 0
SITE = "tests.telemetry.site_app"


@dataclass
class Site:
    client: DurableClient
    receiver: Receiver
    folder: Path
    environment: dict[str, str]
    processes: list[asyncio.subprocess.Process]

    async def start(self, service: str, *arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *COMMANDS,
            *arguments,
            cwd=ROOT,
            env={**self.environment, "OTEL_SERVICE_NAME": service},
            stderr=asyncio.subprocess.PIPE,
        )
        self.processes.append(process)
        assert process.stderr is not None
        async with asyncio.timeout(30):
            async for line in process.stderr:
                if b"ready" in line:
                    return process
        raise AssertionError(f"{service} ended before it was ready")

    async def worker(self, service: str, nodes: str) -> asyncio.subprocess.Process:
        return await self.start(service, "worker", f"{SITE}:flow", "--nodes", nodes, "--lease", "1")

    async def submit(self, mode: str) -> str:
        message = Message(payload={"mode": mode}, headers=Headers(tenant="default"))
        return await self.client.emit(message)

    async def seen(self, trace: str, name: str, count: int = 1) -> list[Received]:
        """The spans of the trace with this name, once there are so many."""

        def enough(spans: list[Received]) -> bool:
            return sum(s.trace == trace and s.name == name for s in spans) >= count

        await asyncio.to_thread(self.receiver.wait, enough)
        return [span for span in self.receiver.of(trace) if span.name == name]


@asynccontextmanager
async def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    with Receiver() as receiver:
        async with EmbeddedServer() as server:
            own = {
                "PENGUIFLOW_NATS_URL": server.url,
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "SITE_FOLDER": str(folder),
            }
            for name, value in own.items():
                monkeypatch.setenv(name, value)
            from tests.telemetry.site_app import flow

            environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
            async with (
                setup("client") as telemetry,
                runtime.client(flow, server.url, telemetry=telemetry) as client,
            ):
                site = Site(client, receiver, folder, environment, [])
                try:
                    yield site
                finally:
                    for process in site.processes:
                        if process.returncode is None:
                            process.kill()
                        await process.communicate()


async def whole(site: Site, trace: str) -> list[Received]:
    """One root, every parent present, no id twice, one trace."""

    def complete(spans: list[Received]) -> bool:
        own = [span for span in spans if span.trace == trace]
        return {span.parent for span in own if span.parent} <= {span.span for span in own}

    await asyncio.to_thread(site.receiver.wait, complete)
    spans = site.receiver.of(trace)
    assert len({span.span for span in spans}) == len(spans)
    assert [span.name for span in spans if not span.parent] == [f"emit {FLOW}"]
    assert {span.attributes["penguiflow.trace_id"] for span in spans} == {trace}
    return spans


FLOW = "site-1"


async def test_the_trace_of_five_processes_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as site:
        assert site.client.log.flow == FLOW
        agent = await site.start("agent", "agent", f"{SITE}:agent")
        middle = await site.worker("middle", "split,join,ask")
        killed = await site.worker("killed", "fragile")

        # A worker is killed in the middle of a node.
        trace = await site.submit("kill")
        await eventually((tmp_path / "hung").exists, timeout=30)
        await site.seen(trace, f"publish pf.{FLOW}.join", 2)  # what it had finished is out
        killed.send_signal(signal.SIGKILL)
        heir = await site.worker("heir", "fragile")
        result = await site.client.fetch(trace_id=trace, timeout=60)
        value = result.payload if isinstance(result, Message) else result
        await site.seen(trace, f"publish pf.{FLOW}.egress")
        await site.seen(trace, f"process pf.{FLOW}.ask")
        await site.seen(trace, "teller/tell", 2)
        spans = await whole(site, trace)
        pids = {os.getpid(), agent.pid, middle.pid, killed.pid, heir.pid}
        assert {span.pid for span in spans} == pids
        _joined(spans)
        _redelivered(spans, killed.pid, heir.pid)
        _streamed(spans, agent.pid, middle.pid, value)
        await _cancelled(site)
        await _buried(site)

    # Nothing of the payloads was sent, whatever happened to them.
    assert not any(b"nobody-else-may-see" in body for body in site.receiver.bodies)


def _named(spans: list[Received], name: str) -> list[Received]:
    return [span for span in spans if span.name == name]


def _redelivered(spans: list[Received], killed: int, heir: int) -> None:
    """The input of the dead worker is a sibling, in another process."""
    runs = _named(spans, f"process pf.{FLOW}.fragile")
    assert sorted(span.attributes["nats.delivery_count"] for span in runs) == [1, 1, 2]
    (again,) = [span for span in runs if span.attributes["nats.delivery_count"] == 2]
    assert again.pid == heir
    assert {span.pid for span in runs if span is not again} == {killed}
    sent = {span.span: span for span in _named(spans, f"publish pf.{FLOW}.fragile")}
    assert {span.parent for span in runs} == set(sent)
    assert [(span.kind, span.status, span.outcome) for span in runs] == [
        (CONSUMER, UNSET, "ok")
    ] * 3
    assert {sent[span.parent].pid for span in runs}.isdisjoint({killed, heir})


def _joined(spans: list[Received]) -> None:
    """The join has one of the messages as its parent and links to the others."""
    (join,) = _named(spans, f"process pf.{FLOW}.join")
    sent = {span.span for span in _named(spans, f"publish pf.{FLOW}.join")}
    linked = {link[1] for link in join.links}
    assert len(linked) == 2
    assert linked | {join.parent} == sent
    assert join.attributes["messaging.batch.message_count"] == 3


def _streamed(spans: list[Received], agent: int, caller: int, value: dict[str, object]) -> None:
    """One client span for the call and one server span under it, in the agent's process."""
    client, server = sorted(_named(spans, "teller/tell"), key=lambda span: -span.kind)
    assert (client.kind, server.kind) == (CLIENT, SERVER)
    assert (client.pid, server.pid) == (caller, agent)
    assert server.parent == client.span
    (asked,) = _named(spans, f"process pf.{FLOW}.ask")
    assert client.parent == asked.span
    assert [name for name, _ in client.events] == ["first_chunk"]
    assert client.attributes["penguiflow.stream.chunks"] == 3
    assert value["traceparent"] == f"00-{server.trace}-{server.span}-01"


async def _cancelled(site: Site) -> None:
    trace = await site.submit("hang")
    await eventually(lambda: len(list(site.folder.glob("hang-?"))) == 3, timeout=30)
    assert await site.client.cancel(trace)
    with pytest.raises(TraceCancelled):
        await site.client.fetch(trace_id=trace, timeout=20)
    ended = await site.seen(trace, f"process pf.{FLOW}.fragile", 3)
    (cancel,) = await site.seen(trace, f"cancel {FLOW}")
    assert {(span.outcome, span.status) for span in ended} == {("cancelled", UNSET)}
    assert {link[1] for span in ended for link in span.links} == {cancel.span}
    assert (cancel.outcome, cancel.pid) == ("cancelled", os.getpid())
    await whole(site, trace)


async def _buried(site: Site) -> None:
    trace = await site.submit("raise")
    with pytest.raises(FlowError):
        await site.client.fetch(trace_id=trace, timeout=30)
    letters = await site.seen(trace, f"publish pf.{FLOW}.dlq", 3)
    failed = await site.seen(trace, f"process pf.{FLOW}.fragile", 3)
    assert {span.parent for span in letters} == {span.span for span in failed}
    assert {(span.outcome, span.status) for span in failed} == {("failed", ERROR)}
    assert {span.attributes["error.type"] for span in failed} == {"ValueError"}
    await whole(site, trace)
