"""`penguiflow history TRACE_ID`: the events that the state store has of a trace, as JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from pydantic_core import to_json

from penguiflow.cli.errors import CommandError
from penguiflow.cli.output import say, tell
from penguiflow.durable.wire_errors import WireError
from penguiflow_nats import error_codes
from penguiflow_nats.commands.shared import add_server, explained, server_of
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.runtime import connected
from penguiflow_nats.state_history import RecordedEvent
from penguiflow_nats.state_keys import bucket_name
from penguiflow_nats.state_store import NatsStateStore

_AT_ONCE = 500
"""Events that are held at once, however long the history is."""


class HistoryCommand:
    """Reads a history; changes nothing."""

    name = "history"
    help = "print what the state store has of a trace, one JSON object a line"

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("trace", metavar="TRACE_ID")
        add_server(parser)
        parser.add_argument(
            "--after",
            type=int,
            default=0,
            metavar="N",
            help="only events after this `sequence`, where a former reader stopped",
        )
        parser.add_argument(
            "--follow", action="store_true", help="go on with new events until the trace has ended"
        )

    def run(self, args: Namespace) -> int:
        with explained(args):
            try:
                return asyncio.run(_print(args))
            except WireError as error:
                text = f"an event of trace {args.trace} cannot be read here: {error}"
                raise CommandError(text, hint="run it where the flow's models are") from error


command = HistoryCommand()


async def _print(args: Namespace) -> int:
    async with connected(server_of(args)) as connection:
        await _require_bucket(connection, args.tenant)
        async with NatsStateStore(connection, tenant=args.tenant) as store:
            if args.follow:
                events = store.follow_history(args.trace, after=args.after, until_end=True)
                async with contextlib.aclosing(events) as following:  # type: ignore[type-var]
                    async for event in following:
                        say(_line(event))
                return 0
            return await _pages(store, args)


async def _pages(store: NatsStateStore, args: Namespace) -> int:
    after, printed = args.after, 0
    while True:
        page = await store.load_history_page(args.trace, limit=_AT_ONCE, after=after)
        for event in page.events:
            say(_line(event))
        after, printed = page.after, printed + len(page.events)
        if not page.more:
            break
    if page.removed is not None:
        gone = page.removed
        when = f" at {gone.removed_at.isoformat()}" if gone.removed_at else ""
        tell(f"{gone.events} events were removed{when}: {gone.reason}")
    elif not printed and not args.after:
        text = f"the state store of tenant {args.tenant} has nothing of trace {args.trace}"
        hint = "a flow writes its history when it is created with a state_store"
        raise CommandError(text, hint=hint)
    return 0


async def _require_bucket(connection: Connection, tenant: str) -> None:
    """Opening a store makes its buckets, and whoever only reads should make none."""
    try:
        await JetStream(connection).stream_info(f"KV_{bucket_name(tenant)}")
    except ApiError as error:
        if error.err_code != error_codes.STREAM_NOT_FOUND:
            raise
        text = f"tenant {tenant} has no state store on this server"
        raise CommandError(text, hint="check the tenant and the server") from error


def _line(recorded: RecordedEvent) -> str:
    line: dict[str, Any] = {
        "sequence": recorded.sequence,
        "recorded_at": recorded.recorded_at.isoformat(),
        **asdict(recorded.event),
    }
    # What JSON has no form for is shown as its text: a history is read by people too.
    return to_json(line, fallback=str, inf_nan_mode="strings").decode()


__all__ = ["HistoryCommand", "command"]
