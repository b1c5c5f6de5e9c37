"""`penguiflow a2a serve module:agent`: a replica of an A2A agent, by HTTP and gRPC."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import Any, Final

from penguiflow.cli.boards import boards
from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.loading import load
from penguiflow.cli.logs import show_logs
from penguiflow.cli.observing import add_telemetry, observed
from penguiflow.cli.options import option
from penguiflow.cli.output import tell
from penguiflow.cli.process import Draining, add_process
from penguiflow.flow import PenguiFlow
from penguiflow.telemetry.instrument import Instrument

_GOODBYE: Final = 10.0
"""Seconds beyond the drain limit in which handlers that were cancelled have to end."""
_MEMORY: Final = "memory"


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        msg = "must be a port, 0 to 65535"
        raise ValueError(msg)
    return int(text)


class A2ACommand:
    """Serves an agent until it is told to stop; then drains and ends with status 0."""

    name = "a2a"
    help = "serve an agent by the A2A protocol until SIGTERM or Ctrl-C"

    def configure(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        serve = actions.add_parser("serve", help=self.help)
        serve.add_argument(
            "agent",
            metavar="MODULE:AGENT",
            help="an A2ASpec, a flow or an async function, as in app.agents:agent",
        )
        for flag, env, kind, default, metavar, text in (
            ("--host", "PENGUIFLOW_A2A_HOST", str, "127.0.0.1", "H", "where to listen"),
            ("--port", "PENGUIFLOW_A2A_PORT", _port, 8080, "P", "port of HTTP"),
            (
                "--grpc-port",
                "PENGUIFLOW_A2A_GRPC_PORT",
                _port,
                None,
                "P",
                "port of gRPC; none without",
            ),
            (
                "--url",
                "PENGUIFLOW_A2A_URL",
                str,
                None,
                "URL",
                "address in the card, behind a proxy",
            ),
            ("--name", "PENGUIFLOW_AGENT", str, None, "A", "name of the agent; replicas share it"),
        ):
            option(serve, flag, env=env, type=kind, default=default, metavar=metavar, help=text)
        add_process(serve, finish="what is in work", waits=False)
        add_telemetry(serve)
        found = boards()
        serve.add_argument(
            "--board",
            choices=[*found, _MEMORY],
            default=next(iter(found), _MEMORY),
            help="where tasks live; in memory they end with the process [default %(default)s]",
        )
        serve.add_argument(
            "--no-work", action="store_true", help="only serve; other replicas work on the tasks"
        )
        for each in found.values():
            each.configure(serve)

    def run(self, args: Namespace) -> int:
        show_logs(args.log_level)
        try:
            return asyncio.run(_serve(args))
        except (ImportError, OSError) as error:
            raise CommandError(str(error)) from error


command = A2ACommand()


def _spec(args: Namespace) -> Any:
    from penguiflow_a2a.spec import A2ASpec

    found = load(args.agent, object, "an A2ASpec, a flow or an async function")
    if isinstance(found, A2ASpec):
        spec = found
    elif isinstance(found, PenguiFlow) or asyncio.iscoroutinefunction(found):
        spec = A2ASpec(agent=found)
    else:
        kind = type(found).__name__
        text = f"{args.agent!r} is a {kind}; needed is an A2ASpec, a flow or an async function"
        raise UsageError(text)
    own = getattr(spec.agent, "name", None) or getattr(spec.agent, "__name__", None)
    return replace(spec, name=args.name or spec.name or own or args.agent.rpartition(":")[2])


def _service(
    args: Namespace,
    spec: Any,
    urls: tuple[str, str | None],
    telemetry: Instrument | None,
) -> Any:
    from penguiflow_a2a.cards import card_of
    from penguiflow_a2a.service import A2AService

    card = spec.card or card_of(
        spec.agent, url=urls[0], grpc_url=urls[1], name=spec.name, registry=spec.registry
    )
    board = None
    if args.board != _MEMORY:
        try:
            board = boards()[args.board].open(args, agent=spec.name)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return A2AService(
        spec.agent,
        agent_card=card,
        config=spec.config,
        store=board,
        target=spec.target,
        registry=spec.registry,
        default_headers=spec.default_headers,
        authenticator=spec.authenticator,
        extended_agent_card=spec.extended_agent_card,
        extended_agent_card_auth=spec.extended_agent_card_auth,
        works=not args.no_work,
        telemetry=telemetry,
    )


async def _serve(args: Namespace) -> int:
    from penguiflow_a2a.commands.serving import Listening

    spec = _spec(args)
    listening = Listening(args.host, args.port, args.grpc_port)
    url = args.url or listening.url
    draining = Draining(
        args.drain, grace=_GOODBYE, overdue="other replicas take over what was in work"
    )
    draining.listen()

    def ready() -> None:
        grpc = f", gRPC {listening.grpc_target}" if listening.grpc_target else ""
        tell(f"a2a agent {spec.name} ready: {url}{grpc}, board {args.board}")

    async with observed(args, spec.name) as telemetry:
        service = _service(args, spec, (url, listening.grpc_target), telemetry)
        await listening.serve(service, ready=ready, stop=draining.stopping, drain=args.drain)
    return 0


__all__ = ["A2ACommand", "command"]
