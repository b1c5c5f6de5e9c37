"""The nodes of the census: thin shells that open the envelope, call a pure function, close it.

A message keeps its headers, its trace id and its deadline from node to node. Payloads are validated
on the way in, because behind a broker they arrive as plain JSON values.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from census_metrics import combine, measure
from census_models import ModuleMetrics, Package, PackageReport, SourceFile
from census_sources import census_root, read_source, split_package

from penguiflow.types import Message


class Emits(Protocol):
    """What these nodes need of a context."""

    async def emit(self, msg: Any) -> None:
        """Send one message along the outgoing edges."""


async def split(message: Message, ctx: Emits) -> None:
    """One package in, one message per file out."""
    for file in split_package(Package.model_validate(message.payload)):
        await ctx.emit(_with(message, file))


async def parse(message: Message, _ctx: Emits) -> Message:
    """One file in, its figures out.

    The largest files take a second. That is spent in a thread, so that the worker's event loop
    stays free to tell the broker that the message is still being worked on.
    """
    file = SourceFile.model_validate(message.payload)
    return _with(message, await asyncio.to_thread(_measure, file))


async def package(message: Message, _ctx: Emits) -> Message:
    """The figures of all files of a package in, as a list in any order; the package's out."""
    modules = [ModuleMetrics.model_validate(item) for item in message.payload]
    return _with(message, combine(modules))


async def report(message: Message, _ctx: Emits) -> Message:
    """What the agent answered in, checked, and out of the flow."""
    return _with(message, PackageReport.model_validate(message.payload))


def _measure(file: SourceFile) -> ModuleMetrics:
    return measure(file, read_source(census_root(), file))


def _with(message: Message, payload: Any) -> Message:
    return message.model_copy(update={"payload": payload})
