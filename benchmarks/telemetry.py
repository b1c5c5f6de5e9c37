"""What telemetry costs on the saturated durable hop.

`python -m benchmarks telemetry` measures, in rounds in which every form runs once, on one machine:

    without     a copy of the packages whose telemetry calls were taken out
    none        as it is, with no tracer
    unsampled   a tracer whose sampler keeps nothing: senders say so, workers make no span
    sampled     everything is kept and exported by OTLP over HTTP to a collector in a process of
                its own
    dead        the same, but nobody listens at the collector's address

Every sample is a process of its own with a server of its own. Rates depend on the machine, and a
machine that others use as well changes from second to second; only ratios of one round mean
anything, and of them the median.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.commit_forms.hops import PAYLOAD
from benchmarks.hop import WINDOW, Sample, Stopwatch, hop_flow
from penguiflow import Headers, Message
from penguiflow.cli.memory import settle_collector
from penguiflow.durable.client import DurableClient
from penguiflow.durable.topology import flow_token
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.runtime import connected, worker
from penguiflow_nats.server import EmbeddedServer

FORMS = ("without", "none", "unsampled", "sampled", "dead")
GOALS = {"none": 0.97, "unsampled": 0.75, "sampled": 0.45, "dead": 0.45}
"""Least rates beside the form in `BESIDE`."""
BESIDE = {"none": "without", "unsampled": "none", "sampled": "none", "dead": "none"}
NOBODY = "http://127.0.0.1:9"
ROOT = Path(__file__).resolve().parents[1]


# ---- a copy without the calls --------------------------------------------------------------------


class _Without(ast.NodeTransformer):
    """Takes out `if <instrument> is not None: ...`, and decides `... if <instrument> is None`."""

    def __init__(self) -> None:
        self.removed = 0

    def visit_If(self, node: ast.If) -> Any:
        node = self.generic_visit(node)  # type: ignore[assignment]
        which = _asks(node.test)
        if which is None:
            return node
        self.removed += 1
        return (node.orelse if which is ast.IsNot else node.body) or ast.Pass()

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        node = self.generic_visit(node)  # type: ignore[assignment]
        which = _asks(node.test)
        if which is None:
            return node
        self.removed += 1
        return node.orelse if which is ast.IsNot else node.body


def _asks(test: ast.expr) -> type[ast.cmpop] | None:
    """Whether a condition asks for the instrument, and how."""
    if not isinstance(test, ast.Compare) or not isinstance(test.comparators[0], ast.Constant):
        return None
    asked = test.left
    name = asked.attr if isinstance(asked, ast.Attribute) else getattr(asked, "id", "")
    if name in ("probe", "_probe", "instrument") and test.comparators[0].value is None:
        return type(test.ops[0])
    return None


def copy_without(target: Path) -> int:
    """A copy of the packages without telemetry calls; returns how many were taken out."""
    removed = 0
    for package in ("penguiflow", "penguiflow_nats", "benchmarks"):
        shutil.copytree(
            ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path in (target / "penguiflow").rglob("*.py"):
        if "telemetry" in path.parts:
            continue
        without = _Without()
        tree = without.visit(ast.parse(path.read_text("utf-8")))
        if without.removed:
            path.write_text(ast.unparse(ast.fix_missing_locations(tree)), "utf-8")
            removed += without.removed
    return removed


# ---- a collector ---------------------------------------------------------------------------------


def collect() -> None:
    """Take everything and keep nothing, in a process of its own; prints the port."""

    class Sink(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """The address of a collector."""
    command = [sys.executable, "-c", "from benchmarks.telemetry import collect; collect()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


# ---- one sample ----------------------------------------------------------------------------------


def _instrument(form: str) -> Any:
    if form in ("without", "none"):
        return None
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

    from penguiflow.telemetry import setup

    return setup("hop", sampler=ParentBased(ALWAYS_OFF if form == "unsampled" else ALWAYS_ON))


async def measure(form: str, count: int) -> Sample:
    """Hops of a worker that is saturated."""
    flow, telemetry = hop_flow(), _instrument(form)
    observed = {} if form == "without" else {"telemetry": telemetry}
    async with EmbeddedServer() as server, connected(server.url) as connection:
        name = flow_token(flow.graph, flow.name, flow.version)
        log = await JetStreamLog.open(connection, flow=name)
        client = DurableClient(flow, log, **observed)
        headers, payload = Headers(tenant="default"), PAYLOAD.decode()
        for _ in range(0, count, 500):
            batch = [Message(payload=payload, headers=headers) for _ in range(500)]
            await asyncio.gather(*(client.emit(message) for message in batch))
        if telemetry is not None:
            await asyncio.sleep(2.0)  # the spans of the emits go out before the clock runs
        settle_collector()  # as a worker process does
        watch = Stopwatch(server.pid or 0)
        async with worker(flow, connection, concurrency=WINDOW, **observed):
            consumer = log.names.consumer("hand_on")
            while True:
                await asyncio.sleep(0.02)
                info = await log.jetstream.consumer_info(log.names.log_stream, consumer)
                if not info.num_pending and not info.num_ack_pending:
                    break
            sample = watch.sample(count)
        if telemetry is not None:
            await telemetry.shutdown(timeout=0.5)
        return sample


def sampled_in_a_process(form: str, count: int, *, path: Path, endpoint: str) -> Sample:
    """One sample, from a process that imports the packages from `path`."""
    code = (
        "import asyncio, dataclasses, json; from benchmarks.telemetry import measure; "
        f"print(json.dumps(dataclasses.asdict(asyncio.run(measure({form!r}, {count})))))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(path),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_MAX_QUEUE_SIZE": "65536",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return Sample(**json.loads(done.stdout.splitlines()[-1]))


def run(count: int = 6_000, rounds: int = 7, forms: Sequence[str] = FORMS) -> None:
    """Measure and print a table."""
    got: dict[str, list[Sample]] = {form: [] for form in forms}
    with tempfile.TemporaryDirectory() as folder, collector() as endpoint:
        removed = copy_without(Path(folder))
        for number in range(rounds):
            order = forms if number % 2 == 0 else forms[::-1]
            for form in order:
                path = Path(folder) if form == "without" else ROOT
                to = NOBODY if form == "dead" else endpoint
                sample = sampled_in_a_process(form, count, path=path, endpoint=to)
                got[form].append(sample)
    print("rate: hops/s beside the other's; CPU: the other's CPU per hop beside this one's, median")
    print("of the rounds; least CPU: the same of the sample that was disturbed least\n")
    print(f"{removed} telemetry calls taken out; {rounds} rounds of {count} hops\n")
    print("| telemetry | beside | rate | CPU | least CPU | goal | hops/s | client us |")
    print("|---|---|---|---|---|---|---|---|")
    for form in forms:
        print(_row(form, got))


def _row(form: str, got: dict[str, list[Sample]]) -> str:
    rate = statistics.median(s.rate for s in got[form])
    cpu = statistics.median(s.client_us for s in got[form])
    if BESIDE.get(form) not in got:
        return f"| {form} | | | | | | {rate:,.0f} | {cpu:.0f} |"
    beside = BESIDE[form]
    pairs = list(zip(got[form], got[beside], strict=True))
    ratio = statistics.median(a.rate / b.rate for a, b in pairs)
    spent = statistics.median(b.client_us / a.client_us for a, b in pairs)
    least = min(s.client_us for s in got[beside]) / min(s.client_us for s in got[form])
    goal = GOALS[form]
    ratios = f"{ratio:.2f} | {spent:.2f} | {least:.2f} | {goal}"
    return f"| {form} | {beside} | {ratios} | {rate:,.0f} | {cpu:.0f} |"


if __name__ == "__main__":
    run(*map(int, sys.argv[1:3]), forms=sys.argv[3:] or FORMS)
