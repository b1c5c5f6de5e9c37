"""The promises under a bad connection: lost calls, lost answers, late and repeated deliveries."""

from __future__ import annotations

import asyncio

import pytest

from penguiflow.durable.log import Kind, Pattern
from penguiflow.testing import Fault, FaultyLog
from tests.contract.log.bench import Bench
from tests.contract.log.keys import end, ingress, record
from tests.contract.log.pipeline import Pipeline, Witness, derives_from, insist, keys_of

TRACES = [f"t{number}" for number in range(25)]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("purges", [False, True], ids=["kept", "purged"])
async def test_every_trace_ends_once_with_one_result(bench: Bench, seed: int, purges: bool) -> None:
    witnesses = [Witness(await bench.open()) for _ in range(3)]
    logs = [
        # Deliveries may come after their lease, when somebody else works on them already.
        FaultyLog(
            witness, seed * 10 + n, rate=0.3, clock=bench.clock, longest_delay=bench.lease * 1.3
        )
        for n, witness in enumerate(witnesses)
    ]
    workers = [Pipeline(log, lease=bench.lease, purges=purges) for log in logs]
    starting = asyncio.gather(*(worker.start() for worker in workers))
    while not starting.done():
        await bench.pass_time(bench.lease / 4)
    for trace in TRACES:
        await witnesses[0].append(ingress(trace), trace.encode(), absent=end(trace))
    await _until_all_ended(bench, witnesses[0])
    for log in logs:
        log.rate = 0.0
    # What was late or handed back comes once more, and finds its trace closed.
    await bench.pass_time(bench.lease * 2.5)
    for worker in workers:
        await worker.stop()

    commits = sum((witness.commits for witness in witnesses[1:]), witnesses[0].commits)
    data = {key: value for witness in witnesses for key, value in witness.data.items()}
    assert set(commits) == {ingress(t) for t in TRACES} | {k for t in TRACES for k in keys_of(t)}
    assert set(commits.values()) == {1}
    for trace in TRACES:
        assert derives_from(record(trace, "a"), ingress(trace), data)
        assert derives_from(record(trace, "b"), record(trace, "a"), data)
    left = await witnesses[0].read([Pattern()])
    assert len(left) == len(TRACES) * (1 if purges else 4)
    for fault in Fault:
        assert sum(log.faults[fault] for log in logs) > 0


async def _until_all_ended(bench: Bench, log: Witness) -> None:
    for _ in range(400):
        if len(await insist(lambda: log.read([Pattern(Kind.END)]))) == len(TRACES):
            return
        await bench.pass_time(bench.lease / 4)
    pytest.fail("the traces did not end")
