"""The option `--telemetry` of commands that run a process."""

from __future__ import annotations

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

from penguiflow.cli.errors import CommandError
from penguiflow.cli.options import option
from penguiflow.cli.output import tell
from penguiflow.telemetry import Instrument, SpanIds, Telemetry, TelemetryMissing, Tracing, setup
from penguiflow.telemetry.metric_provider import wanted_readers
from penguiflow.telemetry.provider import is_wanted

_CHOICES = ("auto", "on", "off")


def choice(text: str) -> str:
    """One of the choices."""
    if text not in _CHOICES:
        msg = f"must be one of {', '.join(_CHOICES)}"
        raise ValueError(msg)
    return text


def add_telemetry(parser: ArgumentParser) -> None:
    """Whether spans and metrics are made, and exported."""
    option(
        parser,
        "--telemetry",
        env="PENGUIFLOW_TELEMETRY",
        type=choice,
        default="auto",
        metavar="WHEN",
        help="export traces and metrics: on, off, or auto, which does when the OTEL_* variables "
        "name an endpoint or an exporter, or when OpenTelemetry is set up already",
    )


@asynccontextmanager
async def observed(
    args: Namespace, service: str, *, metrics: bool = True
) -> AsyncIterator[Instrument | None]:
    """What the process tells of itself, until the block ends; then the last spans go out.

    A command that is over at once exports no `metrics`: nobody would read its page, and a worker
    beside it may have the port.

    Raises:
        CommandError: it was asked for, and cannot be.
    """
    if args.telemetry == "off":
        yield None
        return
    if not isinstance(get_tracer_provider(), ProxyTracerProvider):
        yield Tracing()  # whoever set the provider exports its spans
        return
    if args.telemetry == "auto" and not (is_wanted() or (metrics and wanted_readers())):
        yield None
        return
    telemetry = _new(args, service, metrics=metrics)
    for handler in logging.getLogger().handlers:
        handler.addFilter(SpanIds())
    try:
        yield telemetry
    finally:
        if telemetry is not None and not await telemetry.shutdown():
            tell("the last spans could not be exported in time")


def _new(args: Namespace, service: str, *, metrics: bool) -> Telemetry | None:
    try:
        return setup(default_service_name=service, metrics=None if metrics else False)
    except TelemetryMissing as error:
        if args.telemetry == "on":
            raise CommandError(str(error)) from error
        tell(f"no traces are exported: {error}")
        return None


__all__ = ["add_telemetry", "observed"]
