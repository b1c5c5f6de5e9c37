"""`penguiflow trace module:flow TRACE_ID`: the waterfall of a trace."""

from __future__ import annotations

import asyncio
import shutil
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.output import say
from penguiflow.durable.ledger import Books
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import everything
from penguiflow.durable.waterfall import Waterfall
from penguiflow.durable.waterfall_html import waterfall_page
from penguiflow.durable.waterfall_rows import FOLD
from penguiflow.durable.waterfall_text import waterfall_text
from penguiflow_nats.commands.shared import add_flow, explained, opened_log
from penguiflow_nats.log import JetStreamLog

_POLL: Final = 0.5
"""Seconds between two looks at a trace that is followed."""


class TraceCommand:
    """Shows a trace; reads and changes nothing."""

    name = "trace"
    help = "show a trace as a waterfall: every hop, who made it, and what it waited for"

    def configure(self, parser: ArgumentParser) -> None:
        add_flow(parser)
        parser.add_argument("trace", metavar="TRACE_ID")
        parser.add_argument("--all", action="store_true", help="fold nothing")
        parser.add_argument(
            "--follow",
            action="store_true",
            help="show it again with each new entry until it has ended; in a terminal in place",
        )
        parser.add_argument("--html", type=Path, metavar="FILE", help="write a page instead")

    def run(self, args: Namespace) -> int:
        if args.follow and args.html is not None:
            text = "--follow shows a trace in the terminal, --html writes it once"
            raise UsageError(text, hint="give one of them")
        limit = None if args.all else FOLD
        with explained(args):
            if args.follow:
                asyncio.run(_follow(args, limit))
                return 0
            waterfall = asyncio.run(_read(args))
        if args.html is not None:
            _write(args.html, waterfall_page(waterfall, limit=limit))
            say(f"written to {args.html}")
            return 0
        say(_text(waterfall, limit))
        return 0


command = TraceCommand()


async def _read(args: Namespace) -> Waterfall:
    async with opened_log(args) as (_, log):
        books = await _books(log, args)
    return Waterfall.of(books)


async def _books(log: JetStreamLog, args: Namespace) -> Books:
    trace = trace_token(args.trace)
    books = Books.of(trace, await log.read(everything(trace)))
    if not books.entries:
        text = f"trace {args.trace} is not in the log of tenant {args.tenant}, flow {log.flow}"
        hint = "a finished trace is removed after its retention; check tenant and id"
        raise CommandError(text, hint=hint)
    return books


async def _follow(args: Namespace, limit: int | None) -> None:
    """Show the trace whenever it has a new entry, until it has ended."""
    screen = Screen(in_place=sys.stdout.isatty())
    async with opened_log(args) as (_, log):
        shown = 0
        while True:
            books = await _books(log, args)
            newest = books.entries[-1].stored.sequence
            if newest != shown:
                screen.show(_text(Waterfall.of(books), limit))
                shown = newest
            if books.status.is_terminal:
                return
            await asyncio.sleep(_POLL)


class Screen:
    """Where a text is shown again and again: over the former one, or below it."""

    def __init__(self, *, in_place: bool) -> None:
        self._in_place = in_place
        self._lines = 0

    def show(self, text: str) -> None:
        """Show the text, instead of the one before if this is a terminal."""
        rows = shutil.get_terminal_size((100, 24)).lines - 1
        lines = text.splitlines()
        if self._in_place and len(lines) > rows:  # what has scrolled away cannot be overwritten
            lines = [*lines[: rows - 1], f"... and {len(lines) - rows + 1} more lines"]
        if self._in_place and self._lines:
            sys.stdout.write(f"\x1b[{self._lines}F\x1b[J")
        elif self._lines:
            say("")
        say("\n".join(lines))
        self._lines = len(lines)


def _text(waterfall: Waterfall, limit: int | None) -> str:
    columns = shutil.get_terminal_size((100, 24)).columns
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    return waterfall_text(waterfall, columns=columns, limit=limit, ascii_only=plain)


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        text = f"{file} cannot be written: {error.strerror or error}"
        raise CommandError(text) from error


__all__ = ["TraceCommand", "command"]
