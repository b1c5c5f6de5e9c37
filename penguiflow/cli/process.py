"""A process that serves until a signal: its options, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from penguiflow.cli.logs import level
from penguiflow.cli.options import option, patience, seconds
from penguiflow.cli.output import tell

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_AGAIN: Final = 0.25
"""Seconds between two attempts to reach a server that is not there yet."""


def add_process(parser: ArgumentParser, *, finish: str, waits: bool = True) -> None:
    """The options `--drain`, `--wait` and `--log-level`.

    Args:
        parser: Where to add them.
        finish: What is finished after the signal, as "what is in hand".
        waits: Whether the process may wait for a server at its start.
    """
    option(
        parser,
        "--drain",
        env="PENGUIFLOW_DRAIN",
        type=seconds,
        default=30.0,
        metavar="S",
        help=f"seconds to finish {finish} after the signal; a second one ends at once",
    )
    if waits:
        option(
            parser,
            "--wait",
            env="PENGUIFLOW_WAIT",
            type=patience,
            default=0.0,
            metavar="S",
            help="seconds to wait for a server that is not there at the start",
        )
    option(
        parser,
        "--log-level",
        env="PENGUIFLOW_LOG_LEVEL",
        type=level,
        default="warning",
        metavar="LEVEL",
        help="what to log on standard error",
    )


class Draining:
    """How a process ends: the first signal stops it, and it drains. A second one ends it at once,
    and so does the limit; whatever is not settled then, others take over.

    Args:
        limit: Seconds to drain.
        grace: Seconds beyond the limit until the process ends whatever it does.
        overdue: What others do then, for whoever reads the output.
        on_stop: Called at the first signal.
    """

    def __init__(
        self,
        limit: float,
        *,
        overdue: str,
        grace: float = 0.0,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self.stopping: asyncio.Event = asyncio.Event()
        self._limit = limit
        self._grace = grace
        self._overdue_text = overdue
        self._on_stop = on_stop

    def listen(self) -> None:
        """Hear the signals from now on."""
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.add_signal_handler(each, self._signalled, each)

    def _signalled(self, number: signal.Signals) -> None:
        if self.stopping.is_set():
            tell(f"{number.name} again: ending at once")
            _leave(128 + number)
        self.stopping.set()
        if self._on_stop is not None:
            self._on_stop()
        tell(f"{number.name}: draining for at most {self._limit:g} s")
        # The timer also runs while the loop is closed, which waits for threads that still compute.
        asyncio.get_running_loop().call_later(self._limit + self._grace, self._overdue)

    def _overdue(self) -> None:
        tell(f"the drain limit is reached; {self._overdue_text}")
        _leave(0)

    async def once_reached(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        wait: float,
        may_come: Callable[[Exception], bool],
    ) -> T | None:
        """Do the work; again while its server is not there yet, as long as may be waited.

        Args:
            work: The work of the process.
            wait: Seconds to wait at most.
            may_come: Whether this failure means that the server may just not be there yet.

        Returns:
            What the work gives; None when a signal came first.
        """
        loop = asyncio.get_running_loop()
        give_up, waiting = loop.time() + wait, False
        while not self.stopping.is_set():
            try:
                return await work()
            except Exception as error:
                if not may_come(error) or loop.time() >= give_up:
                    raise
                if not waiting:
                    tell(f"waiting for the server for at most {wait:g} s: {error}")
                waiting = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), _AGAIN)
        return None


def _leave(status: int) -> None:
    """End now, without waiting for threads, handlers and connections. What counts is stored."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


__all__ = ["Draining", "add_process"]
