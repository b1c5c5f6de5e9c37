"""`penguiflow trace module:flow TRACE_ID`: the waterfall of a trace."""

from __future__ import annotations

import asyncio
import shutil
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from penguiflow.cli.errors import CommandError
from penguiflow.cli.output import say
from penguiflow.durable.ledger import Books
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import everything
from penguiflow.durable.waterfall import Waterfall
from penguiflow.durable.waterfall_html import waterfall_page
from penguiflow.durable.waterfall_rows import FOLD
from penguiflow.durable.waterfall_text import waterfall_text
from penguiflow_nats.commands.shared import add_flow, explained, opened_log


class TraceCommand:
    """Shows a trace; reads and changes nothing."""

    name = "trace"
    help = "show a trace as a waterfall: every hop, who made it, and what it waited for"

    def configure(self, parser: ArgumentParser) -> None:
        add_flow(parser)
        parser.add_argument("trace", metavar="TRACE_ID")
        parser.add_argument("--all", action="store_true", help="fold nothing")
        parser.add_argument("--html", type=Path, metavar="FILE", help="write a page instead")

    def run(self, args: Namespace) -> int:
        with explained(args):
            waterfall = asyncio.run(_read(args))
        limit = None if args.all else FOLD
        if args.html is not None:
            _write(args.html, waterfall_page(waterfall, limit=limit))
            say(f"written to {args.html}")
            return 0
        columns = shutil.get_terminal_size((100, 24)).columns
        plain = not (sys.stdout.encoding or "").lower().startswith("utf")
        say(waterfall_text(waterfall, columns=columns, limit=limit, ascii_only=plain))
        return 0


command = TraceCommand()


async def _read(args: Namespace) -> Waterfall:
    async with opened_log(args) as (_, log):
        trace = trace_token(args.trace)
        books = Books.of(trace, await log.read(everything(trace)))
    if not books.entries:
        text = f"trace {args.trace} is not in the log of tenant {args.tenant}, flow {log.flow}"
        hint = "a finished trace is removed after its retention; check tenant and id"
        raise CommandError(text, hint=hint)
    return Waterfall.of(books)


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        text = f"{file} cannot be written: {error.strerror or error}"
        raise CommandError(text) from error


__all__ = ["TraceCommand", "command"]
