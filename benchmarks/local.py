"""Speed of the local runtime without any I/O: `python benchmarks/local.py [--quick] [case ...]`.

Chains of nodes that pass their input on, with and without envelopes, and scoped round trips, one
after the other. Prints messages per second of wall time, and microseconds of CPU per message, which
other programs on the machine disturb less. Each case runs several times and the best run counts.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penguiflow import Headers, Message, Node, NodePolicy, create

LENGTHS = (1, 3, 10)
RUNS = 5

Case = Callable[[int, int], Awaitable["Timing"]]


@dataclass(frozen=True, slots=True)
class Timing:
    """What a number of messages took, in seconds."""

    messages: int
    wall: float
    cpu: float

    @property
    def per_second(self) -> float:
        return self.messages / self.wall

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.messages * 1e6


class NullStore:
    """A state store that keeps nothing."""

    async def save_event(self, event: Any) -> None: ...

    async def load_history(self, trace_id: str) -> Sequence[Any]:
        return []

    async def save_remote_binding(self, binding: Any) -> None: ...


class NullBus:
    """A message bus that tells nobody."""

    async def publish(self, envelope: Any) -> None: ...


async def pass_on(message: Any, ctx: Any) -> Any:
    return message


def chain(length: int, **options: Any) -> Any:
    """A flow of nodes in a row."""
    policy = NodePolicy(validate="none")
    nodes = [Node(pass_on, name=f"n{i}", policy=policy) for i in range(length)]
    pairs = [node.to(after) for node, after in itertools.pairwise(nodes)]
    return create(*pairs, nodes[-1].to(), **options)


async def stream(flow: Any, values: Sequence[Any]) -> Timing:
    """One task puts all values in, another takes them out."""

    async def feed() -> None:
        for value in values:
            await flow.emit(value)

    flow.run()
    wall, cpu = time.perf_counter(), time.process_time()
    feeding = asyncio.create_task(feed())
    for _ in values:
        await flow.fetch()
    await feeding
    timing = Timing(len(values), time.perf_counter() - wall, time.process_time() - cpu)
    await flow.stop()
    return timing


def messages(count: int) -> list[Message]:
    return [Message(payload=i, headers=Headers(tenant="bench")) for i in range(count)]


async def plain(length: int, count: int) -> Timing:
    return await stream(chain(length), range(count))


async def envelopes(length: int, count: int) -> Timing:
    return await stream(chain(length), messages(count))


async def null_store(length: int, count: int) -> Timing:
    return await stream(chain(length, state_store=NullStore()), messages(count))


async def null_bus(length: int, count: int) -> Timing:
    return await stream(chain(length, message_bus=NullBus()), messages(count))


async def round_trips(length: int, count: int) -> Timing:
    flow = chain(length)
    flow.run()
    values = messages(count)
    wall, cpu = time.perf_counter(), time.process_time()
    for value in values:
        await flow.emit(value, trace_id=value.trace_id)
        await flow.fetch(trace_id=value.trace_id)
    timing = Timing(count, time.perf_counter() - wall, time.process_time() - cpu)
    await flow.stop()
    return timing


CASES: dict[str, Case] = {
    "plain": plain,
    "message": envelopes,
    "scoped": round_trips,
    "null store": null_store,
    "null bus": null_bus,
}


def measure(case: Case, length: int, count: int, runs: int) -> tuple[float, float]:
    """The best of some runs: (messages per second, CPU microseconds per message)."""
    timings = []
    for _ in range(runs):
        gc.collect()
        timings.append(asyncio.run(case(length, count)))
    return max(t.per_second for t in timings), min(t.cpu_us for t in timings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, two runs")
    arguments = parser.parse_args()
    total, runs = (3_000, 2) if arguments.quick else (30_000, RUNS)
    print(f"{'case':<12}{'nodes':>6}{'msg/s':>12}{'CPU us/msg':>12}{'us/hop':>9}")
    for name in arguments.cases or list(CASES):
        for length in LENGTHS:
            rate, cpu = measure(CASES[name], length, total // length, runs)
            print(f"{name:<12}{length:>6}{rate:>12,.0f}{cpu:>12.1f}{cpu / length:>9.1f}")


if __name__ == "__main__":
    main()
