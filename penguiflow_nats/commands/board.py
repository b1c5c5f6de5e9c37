"""The board on NATS, for commands of other packages."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from penguiflow.cli.options import count, seconds
from penguiflow.cli.options import option as add_option
from penguiflow_nats.agent_options import AgentOptions
from penguiflow_nats.board import NatsTaskBoard
from penguiflow_nats.commands.server import add_server, server_of


class NatsBoardOption:
    """A board on NATS as the user's options say."""

    def configure(self, parser: ArgumentParser) -> None:
        add_server(parser)
        for flag, env, kind, default, text in (
            ("--concurrency", "PENGUIFLOW_CONCURRENCY", count, 64, "tasks in work at once"),
            (
                "--lease",
                "PENGUIFLOW_LEASE",
                seconds,
                10.0,
                "seconds of silence after which another worker takes a task over",
            ),
            (
                "--retain",
                "PENGUIFLOW_RETAIN",
                seconds,
                3600.0,
                "seconds for which a task is kept after its end",
            ),
        ):
            add_option(parser, flag, env=env, type=kind, default=default, metavar="N", help=text)

    def open(self, args: Namespace, *, agent: str) -> NatsTaskBoard:
        options = AgentOptions(concurrency=args.concurrency, lease=args.lease, retain=args.retain)
        return NatsTaskBoard(server_of(args), agent=agent, tenant=args.tenant, options=options)


option = NatsBoardOption()

__all__ = ["NatsBoardOption", "option"]
