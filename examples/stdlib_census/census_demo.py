"""The demo from its first message to its last line."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from census_chaos import Chaos, Kill, plan_of
from census_child import ProcessFailed
from census_collecting import collect
from census_names import TENANT
from census_outcome import conclude
from census_processes import Processes
from census_progress import Display, Progress
from census_sources import census_root, discover_packages

from penguiflow.durable.log import LogError
from penguiflow.flow import PenguiFlow
from penguiflow.telemetry import from_environment
from penguiflow_nats import runtime
from penguiflow_nats.errors import NatsError
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer

LOOK_EVERY = 0.3
"""Seconds between two looks at what is done."""
SERVER = "max_payload: 8MB"
"""A package's figures travel as one message, and the largest packages have hundreds of files."""


def main(flow: PenguiFlow, arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = _options(arguments)
    signals = [signal.SIGINT]
    try:
        return asyncio.run(_stoppable(flow, options, signals))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped; everything that was started is gone", file=sys.stderr)
        return 128 + signals[-1]
    except (ProcessFailed, NatsError, LogError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="flow.py", description="A census of the standard library over worker processes."
    )
    add = parser.add_argument
    add("--workers", type=_count, default=3, metavar="N", help="worker processes (default: 3)")
    add("--limit", type=_count, metavar="N", help="count only the first N packages")
    add("--out", type=Path, default=Path("census-report"), metavar="FOLDER", help="of the report")
    add(
        "--kill",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="kill a worker with SIGKILL in the middle (default: do)",
    )
    add(
        "--join",
        metavar="URL",
        help="start nothing: use this server, and the workers and the agent that are there",
    )
    add("--seed", type=int, default=1, metavar="N", help="decides who is killed and when")
    add("--chaos", type=_count, metavar="N", help="kill N workers on the way")
    add("--server-kills", type=_count, default=0, metavar="N", help="and the server N times")
    options = parser.parse_args(arguments)
    if options.join:
        options.workers, options.kill, options.chaos, options.server_kills = 0, False, None, 0
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} is not a whole number of at least 1"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


async def _stoppable(
    flow: PenguiFlow, options: argparse.Namespace, signals: list[signal.Signals]
) -> int:
    """Run until the end, or until a signal, which is noted; others unwind as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made it

    def stop(signum: signal.Signals) -> None:
        signals.append(signum)
        task.cancel()

    for each in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(each, stop, each)
    return await _run(flow, options)


async def _run(flow: PenguiFlow, options: argparse.Namespace) -> int:
    _require_folder(options.out)
    packages = discover_packages(census_root(), limit=options.limit)
    if not packages:
        msg = f"there is no Python file below {census_root()}"
        raise FileNotFoundError(msg)
    files = sum(len(package.files) for package in packages)
    starting = f"Starting a nats-server, {options.workers} workers and an agent ..."
    print(
        f"Census of the Python {platform.python_version()} standard library: {files} files in "
        f"{len(packages)} packages.\n{f'Joining {options.join} ...' if options.join else starting}",
        flush=True,
    )
    async with (
        from_environment("census-client") as telemetry,
        _server(options.join) as (url, server),
        runtime.client(flow, url, tenant=TENANT, telemetry=telemetry) as client,
        Processes(url, workers=options.workers, agent=server is not None) as processes,
    ):
        display = Display()
        chaos = Chaos(_plan(options), processes, server, seed=options.seed, say=display.say)
        assert isinstance(client.log, JetStreamLog)  # noqa: S101 - the runtime of penguiflow_nats
        progress = Progress(client.log, client.topology, files)
        results = asyncio.create_task(
            collect(client, packages, until=chaos.until_released, hear=display.hear)
        )
        try:
            while not results.done():
                await asyncio.wait((results,), timeout=LOOK_EVERY)
                await progress.look()
                display.show(progress)
                processes.check()
                await chaos.strike(progress)
        finally:
            display.clear()
            results.cancel()
            await asyncio.gather(results, return_exceptions=True)
        await processes.stop()
        return await conclude(
            client, results.result(), progress=progress, killed=processes.killed, folder=options.out
        )


@asynccontextmanager
async def _server(url: str | None) -> AsyncIterator[tuple[str, EmbeddedServer | None]]:
    """A server whose files are gone at the end, also when its start is interrupted; or the one
    that is there."""
    if url is not None:
        yield url, None
        return
    server = EmbeddedServer(config=SERVER)
    try:
        await server.start()
        yield server.url, server
    finally:
        await server.stop()


def _plan(options: argparse.Namespace) -> list[Kill]:
    """What is killed: by default one worker."""
    default = int(options.kill and not options.server_kills)
    workers = default if options.chaos is None else options.chaos
    return plan_of(workers=workers, servers=options.server_kills, seed=options.seed)


def _require_folder(folder: Path) -> None:
    """Raises `OSError` with a hint, before any work is done, when no report can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"no report can be written to {folder}: {os.strerror(error.errno or 0)}; "
        raise OSError(msg + "name another folder by --out") from error
