"""The demo from its first message to its last line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import platform
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from census_audit import audit_census
from census_models import Package, PackageReport
from census_processes import ProcessFailed, Workers
from census_progress import Display, Progress
from census_report import write_report
from census_sources import census_root, discover_packages

from penguiflow.durable.client import DurableClient
from penguiflow.flow import PenguiFlow
from penguiflow.types import Headers, Message
from penguiflow_nats import runtime
from penguiflow_nats.commands.reading import traces_of
from penguiflow_nats.errors import NatsError
from penguiflow_nats.server import EmbeddedServer

LEASE = 2.0
"""Seconds after which the files of a dead worker go to another one."""
CONCURRENCY = 4
"""Files in work at once per worker; more would not make two cores faster."""
TENANT = "census"
SERVER = "max_payload: 8MB"
"""A package's figures travel as one message, and the largest packages have hundreds of files."""


def main(flow: PenguiFlow, arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(flow, options))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (ProcessFailed, NatsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A census of the standard library.")
    add = parser.add_argument
    add("--workers", type=int, default=3, metavar="N", help="worker processes (default 3)")
    add("--limit", type=int, metavar="N", help="count only the first packages")
    add(
        "--kill",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="kill a worker with SIGKILL in the middle (default)",
    )
    add("--seed", type=int, default=1, help="decides which worker is killed")
    add("--out", type=Path, default=Path("census-report"), help="folder of the report")
    return parser


async def _run(flow: PenguiFlow, options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    packages = discover_packages(census_root(), limit=options.limit)
    files = sum(len(package.files) for package in packages)
    print(
        f"Census of the Python {platform.python_version()} standard library: {files} files in "
        f"{len(packages)} packages, {options.workers} worker processes",
        flush=True,
    )
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(config=SERVER))
        client = await stack.enter_async_context(runtime.client(flow, server.url, tenant=TENANT))
        workers = await stack.enter_async_context(
            Workers(
                Path(__file__).with_name("flow.py"),
                server.url,
                TENANT,
                count=options.workers,
                concurrency=CONCURRENCY,
                lease=LEASE,
            )
        )
        display = Display()
        display.say("server and workers are ready")
        progress = Progress(client.log, client.topology, files)
        results = asyncio.create_task(_collect(client, packages))
        chooser = random.Random(options.seed)
        while not results.done():
            await asyncio.wait((results,), timeout=0.4)
            await progress.look()
            display.show(progress)
            workers.check()
            if options.kill and not workers.killed and progress.share >= 0.5:
                victim = chooser.choice(workers.running)
                pid = victim.pid
                new = await workers.replace(victim)
                display.say(f"killed {victim.name} (pid {pid}), started {new.name}")
        display.clear()
        await results
        await workers.stop()
        await progress.look()
        print(progress.figures())
        traces = await traces_of(client.log)
        audit = audit_census(traces.items(), client.codec, now=client.log.server_time())
        files = write_report(audit.reports, options.out)
        print(f"report: {files.markdown} and {files.html}")
    for note in audit.notes:
        print(note)
    print(audit.line(workers.killed))
    return 0 if audit.is_clean else 1


async def _collect(client: DurableClient, packages: list[Package]) -> list[PackageReport]:
    return await asyncio.gather(*(_one(client, package) for package in packages))


async def _one(client: DurableClient, package: Package) -> PackageReport:
    message = Message(payload=package, headers=Headers(tenant=TENANT))
    result = await client.round_trip(message)
    return result.payload
