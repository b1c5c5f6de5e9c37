"""`penguiflow-admin`: the history of a trace, from any state store."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.state import StateStore, StoredEvent, require_capabilities


async def load_state_store(spec: str) -> StateStore:
    """The store that a factory makes.

    Args:
        spec: "module:factory"; the factory takes nothing and is sync or a coroutine function.

    Raises:
        ValueError: the text names no factory.
        ImportError: there is no such module.
        AttributeError: the module has no such factory.
        TypeError: the factory cannot be called, or gives something without the store's methods.
    """
    module_name, colon, path = spec.partition(":")
    if not module_name or not colon or not path:
        msg = f"a state store is named as module:factory, not {spec!r}"
        raise ValueError(msg)
    factory: Any = importlib.import_module(module_name)
    for part in path.split("."):
        factory = getattr(factory, part)
    if not callable(factory):
        msg = f"{spec!r} cannot be called"
        raise TypeError(msg)
    store = factory()
    if inspect.isawaitable(store):
        store = await store
    require_capabilities(store, feature="admin", methods=["load_history"])
    found: StateStore = store
    return found


def render_events(events: Sequence[StoredEvent], *, tail: int | None = None) -> list[str]:
    """One line of JSON per event, its keys sorted; with `tail` only of the last so many."""
    shown = list(events)
    if tail is not None:
        shown = shown[len(shown) - min(len(shown), max(0, tail)) :]
    return [_line(event) for event in shown]


def _line(event: StoredEvent) -> str:
    own = {
        "event": event.kind,
        "trace_id": event.trace_id,
        "node_name": event.node_name,
        "node_id": event.node_id,
        "ts": event.ts,
    }
    return json.dumps({**own, **event.payload}, sort_keys=True, default=str)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 1 with `error: ...` on stderr."""
    arguments = _parser().parse_args(argv)
    here = str(Path.cwd())
    if here not in sys.path:  # a script has its own folder there, not that of its user
        sys.path.insert(0, here)
    try:
        asyncio.run(_run(arguments))
    except Exception as error:  # noqa: BLE001 - whatever a user's store raises is told in a line
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


async def _run(arguments: argparse.Namespace) -> None:
    store = await load_state_store(arguments.state_store)
    events = list(await store.load_history(arguments.trace))
    lines = render_events(events, tail=arguments.tail)
    if arguments.command == "replay":
        if not events:
            _say(f"# trace {arguments.trace} has no stored events")
            return
        _say(f"# replay trace={arguments.trace} events={len(lines)}")
    delay = arguments.delay if arguments.command == "replay" else 0.0
    for index, line in enumerate(lines):
        if index:
            await SYSTEM_CLOCK.sleep(delay)
        _say(line)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="penguiflow-admin", description="The history of a trace, from any state store."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state-store", required=True, metavar="MODULE:FACTORY")
    common.add_argument("--tail", type=int, metavar="N", help="only the last N events")
    common.add_argument("trace", metavar="TRACE")
    commands.add_parser("history", parents=[common], help="print the events as JSON lines")
    replay = commands.add_parser("replay", parents=[common], help="the same, one after the other")
    replay.add_argument(
        "--delay", type=float, default=0.0, metavar="S", help="seconds between two events"
    )
    return parser


def entry() -> None:
    """The console script."""
    sys.exit(main())


__all__ = ["entry", "load_state_store", "main", "render_events"]


if __name__ == "__main__":
    entry()
