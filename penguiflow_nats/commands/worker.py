"""`penguiflow worker module:flow`: a process that hosts nodes of a flow."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from functools import partial
from typing import Final

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.loading import load_flow, load_registry
from penguiflow.cli.logs import show_logs
from penguiflow.cli.memory import settle_collector
from penguiflow.cli.observing import add_telemetry, observed
from penguiflow.cli.options import count, names, option, patience, seconds
from penguiflow.cli.output import tell
from penguiflow.cli.process import Draining, add_process
from penguiflow.durable.check import check_durable
from penguiflow.durable.log import LogError
from penguiflow.durable.topology import flow_token
from penguiflow.durable.worker import DurableWorker
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.telemetry import Instrument
from penguiflow_nats import runtime
from penguiflow_nats.commands.shared import add_flow, explained, provision, server_of
from penguiflow_nats.errors import ConnectFailed, NatsError
from penguiflow_nats.persist import is_transient

_CLOSING: Final = 0.25
"""The part of the drain limit that is left for saying goodbye to the server."""


class WorkerCommand:
    """Works until it is told to stop; then drains and ends with status 0."""

    name = "worker"
    help = "host all or some nodes of a flow until SIGTERM or Ctrl-C"

    def configure(self, parser: ArgumentParser) -> None:
        add_flow(parser)
        option(
            parser,
            "--nodes",
            env="PENGUIFLOW_NODES",
            type=names,
            metavar="A,B",
            help="names of the nodes to host; all of them when not given",
        )
        option(
            parser,
            "--concurrency",
            env="PENGUIFLOW_CONCURRENCY",
            type=count,
            default=64,
            metavar="N",
            help="inputs in work at once per node",
        )
        option(
            parser,
            "--registry",
            env="PENGUIFLOW_REGISTRY",
            metavar="MODULE:ATTR",
            help="the ModelRegistry, for nodes that validate",
        )
        option(
            parser,
            "--provision",
            env="PENGUIFLOW_PROVISION",
            type=provision,
            default="apply",
            metavar="HOW",
            help="apply: make streams and consumers as needed; verify: fail when they are not; "
            "off: leave them alone",
        )
        _add_times(parser)
        add_telemetry(parser)

    def run(self, args: Namespace) -> int:
        show_logs(args.log_level)
        with explained(args):
            flow = load_flow(args.flow)
            registry = load_registry(args.registry) if args.registry else None
            _check(flow, registry, args.nodes)
            settle_collector()
            asyncio.run(_Process(args).serve(flow, registry))
        return 0


command = WorkerCommand()


def _add_times(parser: ArgumentParser) -> None:
    option(
        parser,
        "--lease",
        env="PENGUIFLOW_LEASE",
        type=seconds,
        default=15.0,
        metavar="S",
        help="seconds after which the inputs of a dead worker go to another one",
    )
    add_process(parser, finish="what is in hand")
    option(
        parser,
        "--sweep",
        env="PENGUIFLOW_SWEEP",
        type=patience,
        default=300.0,
        metavar="S",
        help="seconds after which the flow's state store applies its retention; 0 is never here",
    )


def _check(flow: PenguiFlow, registry: ModelRegistry | None, nodes: tuple[str, ...] | None) -> None:
    """Refuse before the server is asked for anything."""
    check_durable(flow.graph)
    flow_token(flow.graph, flow.name, flow.version)
    there = [str(node.name) for node in flow.graph.nodes]
    unknown = sorted(set(nodes or ()) - set(there))
    if unknown:
        text = f"the flow has no node {', '.join(unknown)}"
        raise UsageError(text, hint=f"it has {', '.join(there)}")
    if registry is not None:
        try:
            flow.check_registry(registry)
        except RuntimeError as error:
            raise UsageError(str(error)) from error


class _Process:
    """One worker process: its readiness and its end."""

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self._draining = Draining(args.drain, overdue="other workers take over what was in hand")
        self._was_ready = False
        self._telemetry: Instrument | None = None
        self._gone: str | None = None

    async def serve(self, flow: PenguiFlow, registry: ModelRegistry | None) -> None:
        """Work until a signal."""
        self._draining.listen()
        try:
            async with observed(self._args, flow.name or "penguiflow") as self._telemetry:
                await self._draining.once_reached(
                    partial(self._host, flow, registry),
                    wait=self._args.wait,
                    may_come=self._may_come,
                )
        except (NatsError, LogError) as error:
            if not self._draining.stopping.is_set():
                raise
            tell(f"stopped without a goodbye to the server: {error}")
        if self._gone is not None:
            raise CommandError(self._gone, hint="a worker that starts creates the consumer anew")

    async def _host(self, flow: PenguiFlow, registry: ModelRegistry | None) -> None:
        args = self._args
        async with runtime.worker(
            flow,
            server_of(args),
            tenant=args.tenant,
            nodes=args.nodes,
            registry=registry,
            concurrency=args.concurrency,
            lease=args.lease,
            provision=args.provision,
            drain=args.drain * (1 - _CLOSING),
            on_gone=self._consumer_gone,
            telemetry=self._telemetry,
            sweep=args.sweep or None,
        ) as hosted:
            self._was_ready = True
            tell(_ready(hosted, args.tenant))
            await self._draining.stopping.wait()

    def _consumer_gone(self, node: str, reason: str) -> None:
        """Without its consumer a node gets no work: end, so that a supervisor starts it anew."""
        self._gone = self._gone or f"node {node} gets no work any more: {reason}"
        self._draining.stopping.set()

    def _may_come(self, error: Exception) -> bool:
        """Whether the server may just not be there yet."""
        if self._was_ready or not isinstance(error, NatsError):
            return False
        return isinstance(error, ConnectFailed) or is_transient(error)


def _ready(hosted: DurableWorker, tenant: str) -> str:
    """What a parent process may wait for."""
    nodes = ", ".join(lane.name for lane in hosted.lanes)
    return f"worker {hosted.id} ready: nodes {nodes}, tenant {tenant}, flow {hosted.log.flow}"
