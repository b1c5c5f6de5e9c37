"""How far the census is, as the server has it, and a line that shows it."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence

from penguiflow.durable.log import Key, Kind, Pattern
from penguiflow.durable.topology import Topology
from penguiflow_nats.errors import NatsError
from penguiflow_nats.log import JetStreamLog

PLAIN_EVERY = 3.0
"""Seconds between two lines where standard output is no terminal."""


class Progress:
    """What is done, counted from the entries and consumers on the server."""

    def __init__(self, log: JetStreamLog, topology: Topology, files: int) -> None:
        self._log = log
        self._patterns = {
            node: topology.consumer(place).patterns
            for node, token in topology.tokens.items()
            if (place := topology.node(token)) is not None
        }
        self.files = files
        self.records: Counter[str] = Counter()
        """Committed results by node."""
        self.redelivered = 0
        """Deliveries beyond the first, of all entries to all nodes."""

    @property
    def done(self) -> int:
        """Files that are parsed."""
        return self.records["parse"]

    @property
    def share(self) -> float:
        """The part of the files that is parsed."""
        return self.done / self.files if self.files else 1.0

    async def look(self) -> None:
        """Bring the figures up to date; they stay as they are while the server is away."""
        names, jetstream = self._log.names, self._log.jetstream
        try:
            # First the consumers: what is entered meanwhile must not look like a redelivery.
            consumers = {
                node: await jetstream.consumer_info(names.log_stream, names.consumer(node))
                for node in self._patterns
            }
            info = await jetstream.stream_info(names.log_stream, subjects_filter=names.entries)
        except NatsError:
            return
        keys = [names.key(subject) for subject in info.state.subjects or ()]
        self.records = Counter(key.node for key in keys if key.kind is Kind.RECORD)
        again = 0
        for node, consumer in consumers.items():
            first = _matching(keys, self._patterns[node]) - consumer.num_pending
            again += max(0, consumer.delivered.consumer_seq - first)
        self.redelivered = max(self.redelivered, again)

    def files_figure(self) -> str:
        """Files done, and deliveries again."""
        return f"{self.done}/{self.files} files, {self.redelivered} redelivered"

    def nodes_figure(self) -> str:
        """Results of every node."""
        return " ".join(f"{node} {self.records[node]}" for node in self._patterns)


def _matching(keys: Sequence[Key], patterns: Sequence[Pattern]) -> int:
    kinds = {(pattern.kind, pattern.node) for pattern in patterns}
    return sum((key.kind, key.node or None) in kinds for key in keys)


class Display:
    """A bar and more in a terminal, written over again and again; elsewhere a line now and then."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._is_shown = False
        self._next = 0.0
        self._heard = ""

    def hear(self, said: str) -> None:
        """What the agent says about a package."""
        self._heard = said

    def show(self, progress: Progress) -> None:
        """The progress now."""
        if self._live:
            columns = shutil.get_terminal_size().columns - 1
            lines = (_bar(progress, columns), progress.nodes_figure(), _tail(self._heard, columns))
            # Down as many lines as there are, and up again: the next time it starts here.
            text = "\n".join(f"\x1b[K{line[:columns]}" for line in lines)
            sys.stdout.write(f"\r{text}\x1b[{len(lines) - 1}A\r")
            sys.stdout.flush()
            self._is_shown = True
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_EVERY
            figures = f"{progress.files_figure()} | {progress.nodes_figure()}"
            print(f"{progress.share:4.0%} {figures}", flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, flush=True)

    def clear(self) -> None:
        """Remove what is written over."""
        if self._is_shown:
            sys.stdout.write("\r\x1b[J")
            sys.stdout.flush()
            self._is_shown = False


def _bar(progress: Progress, columns: int) -> str:
    figures = f" {progress.share:4.0%} {progress.files_figure()}"
    width = max(10, min(40, columns - len(figures)))
    filled = round(width * progress.share)
    return "█" * filled + "░" * (width - filled) + figures


def _tail(said: str, columns: int) -> str:
    """The end of what was said, as much as a line takes."""
    line = f"agent: {said}"
    return line if len(line) <= columns else f"agent: ...{said[-(columns - 10) :]}"
