"""`penguiflow dlq`: as an operator finds, reads, redrives and drops dead letters."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow.cli.loading import load_flow, load_registry
from penguiflow.durable.dead_letters import Selection
from penguiflow_nats import runtime
from penguiflow_nats.letter_box import LetterBox
from penguiflow_nats.server import EmbeddedServer
from tests.acceptance.cli_process import run

FLOW = """
from pathlib import Path

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, NodePolicy, create


class Order(BaseModel):
    amount: int


async def charge(order: Order, ctx) -> Order:
    if order.amount < 0:
        raise ValueError(f"an amount of {order.amount}")
    return order


registry = ModelRegistry()
registry.register("charge", Order, Order)
flow = create(Node(charge, name="charge", policy=NodePolicy(max_retries=0)).to(), name="orders")
"""


class Site:
    """A server on which orders failed."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.flow = load_flow("orders:flow")
        self.registry = load_registry("orders:registry")

    def worker(self) -> Any:
        return runtime.worker(self.flow, self.server.url, registry=self.registry)

    def client(self) -> Any:
        return runtime.client(self.flow, self.server.url, registry=self.registry)

    async def fail(self, *amounts: int) -> None:
        order = self.registry.models("charge")[0]
        async with self.worker(), self.client() as client:
            for number, amount in enumerate(amounts):
                await client.emit(order(amount=amount), trace_id=f"order-{number}")
            async with runtime.connected(self.server.url) as connection, asyncio.timeout(30):
                box = LetterBox(connection)
                while len([b async for b in box.scan(Selection())]) < len(amounts):
                    await asyncio.sleep(0.05)

    def run(self, *arguments: str) -> Any:
        return run("dlq", *arguments, "--nats", self.server.url, cwd=self.folder)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    (tmp_path / "orders.py").write_text(FLOW)
    monkeypatch.delitem(sys.modules, "orders", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    async with EmbeddedServer() as server:
        yield Site(server, tmp_path)


def redrive(site: Site, *arguments: str) -> Any:
    return site.run("redrive", "orders.py:flow", *arguments, "--registry", "orders.py:registry")


async def test_letters_are_listed_and_shown(site: Site) -> None:
    await site.fail(-1, -2)
    listed = site.run("ls")
    assert (listed.returncode, listed.stderr) == (0, "")
    first, second = listed.stdout.splitlines()
    assert "orders-1  charge  failed  trace order-0" in first
    assert "an amount of -2" in second
    assert site.run("ls", "--trace", "order-1").stdout.splitlines() == [second]
    assert "no dead letters" in site.run("ls", "--reason", "poison").stdout
    assert "no dead letters" in site.run("ls", "--until", "1h").stdout
    assert len(site.run("ls", "--json").stdout.splitlines()) == 2
    shown = json.loads(site.run("show", first.split()[0]).stdout)
    assert (shown["node"], shown["reason"], shown["trace"]) == ("charge", "failed", "order-0")
    assert "-1" in json.dumps(shown["envelope"]["outputs"][0]["payload"])
    assert "there is no dead letter ffff" in site.run("show", "ffff").stderr


async def test_a_letter_is_redriven_with_a_payload_that_was_mended(site: Site) -> None:
    await site.fail(-1, -2)
    identity = site.run("ls").stdout.split()[0]
    (site.folder / "mended.json").write_text('{"amount": 5}')
    (site.folder / "wrong.json").write_text('{"amount": "much"}')
    wrong = redrive(site, identity, "--payload", "wrong.json")
    assert wrong.returncode == 2
    assert "the payload is no Order" in wrong.stderr
    both = redrive(site, "--all", "--payload", "mended.json")
    assert "is for one letter, and 2 are selected" in both.stderr
    given = (identity, "--payload", "mended.json", "--trace-id", "order-0b")
    dry = redrive(site, *given, "--dry-run")
    assert "would be redriven as trace order-0b; of trace order-0, which stays failed" in dry.stdout
    assert len(site.run("ls").stdout.splitlines()) == 2
    done = redrive(site, *given)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "dlq: 1 submitted"
    assert len(site.run("ls").stdout.splitlines()) == 1
    async with site.worker(), site.client() as client:
        result = await client.fetch(trace_id="order-0b", timeout=30)
    assert result.amount == 5


@pytest.mark.slow
async def test_nothing_is_redriven_or_dropped_by_accident(site: Site) -> None:
    await site.fail(-1)
    for action in (("redrive", "orders.py:flow"), ("drop",)):
        done = site.run(*action)
        assert done.returncode == 2
        assert "nothing is selected" in done.stderr
    done = redrive(site, "--all", "--to-node", "nobody")
    assert done.returncode == 1
    assert "the flow has no node nobody; it has charge" in done.stdout
    assert "dlq: 1 would be dropped" in site.run("drop", "--all", "--dry-run").stdout
    assert len(site.run("ls").stdout.splitlines()) == 1
    assert "dlq: 1 dropped" in site.run("drop", "--node", "charge").stdout
    assert "no dead letters" in site.run("ls").stdout


async def test_a_server_without_dead_letters_says_so(site: Site) -> None:
    done = site.run("ls")
    assert done.returncode == 1
    assert "tenant default has no stream of dead letters" in done.stderr
