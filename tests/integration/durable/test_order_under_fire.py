"""The order of a key holds over processes that are killed, retries, and long back-offs."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from itertools import pairwise

import pytest

from penguiflow.durable.envelope import decode
from penguiflow.durable.log import Kind, Pattern
from penguiflow_nats import runtime
from penguiflow_nats.server import EmbeddedServer
from tests.integration.durable import app
from tests.integration.durable.conftest import StartWorker

KEYS, EACH, KILLS = 8, 10, 3
_CLOCKS = 0.02
"""Seconds by which two readings of one machine's clocks may differ."""


@pytest.mark.chaos
@pytest.mark.timeout(240)
async def test_records_of_a_key_are_committed_in_order_whatever_dies(
    server: EmbeddedServer, start: StartWorker
) -> None:
    chooser = random.Random(11)
    workers = [await start("ordered", "flaky") for _ in range(3)]
    async with runtime.client(app.ordered(), server.url) as client:
        sent = [(f"key{key}", number) for number in range(EACH) for key in range(KEYS)]
        traces = [await client.emit(app.message(pair)) for pair in sent]
        for _ in range(KILLS):
            await asyncio.sleep(chooser.uniform(0.3, 1.0))
            victim = workers.pop(chooser.randrange(len(workers)))
            victim.kill()
            await victim.wait()
            workers.append(await start("ordered", "flaky"))
        for pair, trace in zip(sent, traces, strict=True):
            found = await client.fetch(trace_id=trace, timeout=150)
            assert found.payload == pair
        records = await client.log.read([Pattern(kind=Kind.RECORD)])
        runs = defaultdict(list)
        for record in records:
            envelope = decode(record.data)
            key, number = client.codec.unpack_output(envelope.outputs[0]).payload
            runs[key].append((number, envelope.started, envelope.started + envelope.duration))
    for own in runs.values():
        assert [number for number, _, _ in own] == list(range(EACH))
        for (_, _, end), (_, begin, _) in pairwise(own):
            assert begin >= end - _CLOCKS
    every = sorted(run for own in runs.values() for run in own)
    assert any(a[2] > b[1] and a[1] < b[2] for a in every for b in every if a is not b)
