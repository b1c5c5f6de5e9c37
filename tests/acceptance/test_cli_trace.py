"""`penguiflow trace` and `penguiflow audit`: what they read from a real server, and say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow.cli.loading import load_flow
from penguiflow.durable.log import Key, Kind
from penguiflow.durable.tokens import trace_token
from penguiflow_nats import runtime
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from tests.acceptance.cli_process import FLOW, run


class Site:
    """A server on which a flow has done some work."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.trace = ""

    def run(self, command: str, *arguments: str) -> Any:
        given = ("flows:doubling", "--nats", self.server.url, *arguments)
        return run(command, *given, cwd=self.folder)

    async def work(self) -> None:
        async with (
            runtime.worker(self.flow, self.server.url),
            runtime.client(self.flow, self.server.url) as client,
        ):
            for value in (1, 2):
                self.trace = await client.emit(value)
                await client.fetch(trace_id=self.trace, timeout=20)

    @property
    def flow(self) -> Any:
        return load_flow(f"{self.folder / 'flows.py'}:doubling")


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    (tmp_path / "flows.py").write_text(FLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    async with EmbeddedServer() as server:
        yield Site(server, tmp_path)


async def test_a_trace_is_shown_hop_by_hop(site: Site) -> None:
    await site.work()
    done = site.run("trace", site.trace)
    assert (done.returncode, done.stderr) == (0, "")
    first, head, double, rest, *_ = done.stdout.splitlines()
    assert re.fullmatch(
        rf"trace {site.trace}: completed after \S+ m?s, 2 hops, 1 worker, 0 redelivered", first
    )
    assert head.split()[:5] == ["node", "worker", "try", "wait", "time"]
    assert double.split()[:3] == ["double", "w1", "1"]
    assert rest.split()[:3] == ["rest", "w1", "1"]
    assert head.index("│") == double.index("│") == rest.index("│")


async def test_a_trace_is_written_as_a_page(site: Site) -> None:
    await site.work()
    page = site.folder / "trace.html"
    done = site.run("trace", site.trace, "--html", str(page))
    assert done.returncode == 0
    assert site.trace in page.read_text()
    refused = site.run("trace", site.trace, "--html", str(site.folder / "no" / "page.html"))
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr


async def test_an_unknown_trace_is_a_failure_with_a_hint(site: Site) -> None:
    await site.work()
    done = site.run("trace", "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("error: trace nobody is not in the log of tenant default")
    assert done.stderr.count("\n") == 1


async def test_an_audit_of_a_server_without_a_log_says_so_and_creates_none(site: Site) -> None:
    done = site.run("audit")
    assert done.returncode == 1
    assert "tenant default has no log on this server" in done.stderr
    again = site.run("trace", "nobody")
    assert "tenant default has no log on this server" in again.stderr


async def test_a_clean_log_is_proved_clean(site: Site) -> None:
    await site.work()
    done = site.run("audit")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "audit: sent=4 settled=4 lost=0 twice=0 traces=2\n",
        "",
    )


async def test_a_record_and_an_output_that_nobody_asked_for_are_found(site: Site) -> None:
    await site.work()
    async with runtime.connected(site.server.url) as connection:
        log = JetStreamLog(connection, tenant="default", flow="doubling-1")
        trace = trace_token(site.trace)
        record = next(
            e
            for e in await log.scan(0, 100)
            if e.key.kind is Kind.RECORD and (e.key.trace, e.key.node) == (trace, "rest")
        )
        await log.append(Key(Kind.OUTPUT, trace, "rest", "forged"), record.data)
    done = site.run("audit")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any("the output follows from no record" in line for line in lines)
    assert all(line.startswith(f"twice: trace {site.trace} node rest") for line in lines[:-1])
    assert re.fullmatch(r"audit: sent=4 settled=4 lost=0 twice=\d+ traces=2", lines[-1])


async def test_what_no_worker_answers_is_open_at_first_and_lost_when_idle(site: Site) -> None:
    async with runtime.client(site.flow, site.server.url) as client:
        await client.emit(1)
    assert "sent=1 settled=0 lost=0 twice=0 open=1" in site.run("audit").stdout
    done = site.run("audit", "--idle", "0.01")
    assert done.returncode == 1
    assert "lost: trace " in done.stdout
    assert "sent=1 settled=0 lost=1 twice=0" in done.stdout


@pytest.mark.slow
async def test_an_unfinished_trace_is_listed_and_an_audit_takes_a_period(site: Site) -> None:
    async with runtime.client(site.flow, site.server.url) as client:
        trace = await client.emit(1)
    listed = site.run("audit", "--since", "1h")
    assert re.search(
        rf"^unfinished: trace {trace}: running, 0 of 1 inputs settled, last entry \S+$",
        listed.stdout,
        re.MULTILINE,
    )
    assert listed.returncode == 0, "it is under way, and not lost"
    for outside in (("--until", "1h"), ("--since", "2999-01-01")):
        done = site.run("audit", *outside)
        assert done.stdout == "audit: sent=0 settled=0 lost=0 twice=0 traces=0\n"
    wrong = site.run("audit", "--since", "yesterday")
    assert wrong.returncode == 2
    assert "how long ago as 90s, 15m, 2h or 1d" in wrong.stderr


async def test_a_trace_is_followed_until_it_has_ended(site: Site) -> None:
    async with runtime.client(site.flow, site.server.url) as client:
        trace = await client.emit(0.5)
        following = asyncio.create_task(asyncio.to_thread(site.run, "trace", trace, "--follow"))
        await asyncio.sleep(0)
        async with runtime.worker(site.flow, site.server.url):
            await client.fetch(trace_id=trace, timeout=30)
            done = await following
    assert (done.returncode, done.stderr) == (0, "")
    heads = [line for line in done.stdout.splitlines() if line.startswith(f"trace {trace}")]
    assert "completed" in heads[-1]
    assert not any("completed" in head for head in heads[:-1])


async def test_follow_writes_no_page(site: Site) -> None:
    done = site.run("trace", "t", "--follow", "--html", "page.html")
    assert done.returncode == 2
    assert "give one of them" in done.stderr
