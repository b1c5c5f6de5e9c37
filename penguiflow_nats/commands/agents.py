"""`penguiflow agents ls|info|call|top`: what agents there are, what they can do, and a call."""

from __future__ import annotations

import asyncio
import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Coroutine
from typing import Any, Final

from penguiflow.cli.errors import CommandError
from penguiflow.cli.options import count, seconds
from penguiflow.cli.output import say
from penguiflow_nats.commands.agents_call import CallOfAgent, add_call
from penguiflow_nats.commands.agents_text import described, json_of, listed
from penguiflow_nats.commands.agents_top import Top
from penguiflow_nats.commands.shared import add_server, explained, server_of
from penguiflow_nats.connection import Connection
from penguiflow_nats.discovery import QUIET, FoundAgent, find_agents
from penguiflow_nats.runtime import connected

_NONE = "a replica is started by `penguiflow agent module:agent`"


class AgentsCommand:
    """Asks the micro services (ADR-32) of the account for the tenant's agents."""

    name = "agents"
    help = "list, describe, call and watch the agents of a tenant"

    def configure(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        ls = actions.add_parser("ls", help="list the agents that answer")
        info = actions.add_parser("info", help="describe an agent: skills, schemas, replicas")
        info.add_argument("agent", metavar="AGENT")
        call = actions.add_parser("call", help="call an agent and show its answer as it comes")
        add_call(call)
        top = actions.add_parser("top", help="watch what the agents do")
        top.add_argument("--every", type=seconds, default=2.0, metavar="S", help="seconds")
        top.add_argument("--count", type=count, metavar="N", help="stop after N looks")
        for each in (ls, info, call):
            each.add_argument("--json", action="store_true", help="for programs")
        for each in (ls, info, top):
            each.add_argument(
                "--quiet",
                type=seconds,
                default=QUIET,
                metavar="S",
                help=f"seconds without an answer after which all have answered (default {QUIET})",
            )
        for each in (ls, info, call, top):
            add_server(each)

    def run(self, args: Namespace) -> int:
        with explained(args):
            return asyncio.run(_ACTIONS[args.action](args))


command = AgentsCommand()


async def _found(args: Namespace, connection: Connection, *, stats: bool) -> list[FoundAgent]:
    return await find_agents(
        connection,
        tenant=args.tenant,
        name=getattr(args, "agent", None),
        stats=stats,
        quiet=args.quiet,
    )


async def _ls(args: Namespace) -> int:
    async with connected(server_of(args)) as connection:
        found = await _found(args, connection, stats=False)
    if args.json:
        say(json_of(found))
    elif found:
        say(listed(found))
    else:
        say(f"no agent of tenant {args.tenant} answers; {_NONE}")
    return 0


async def _info(args: Namespace) -> int:
    async with connected(server_of(args)) as connection:
        found = await _found(args, connection, stats=True)
        if not found:
            there = await find_agents(connection, tenant=args.tenant, quiet=args.quiet)
            names = ", ".join(each.name for each in there)
            text = f"no agent {args.agent} of tenant {args.tenant} answers"
            raise CommandError(text, hint=f"there are {names}" if names else _NONE)
    say(json_of(found[0]) if args.json else described(found[0]))
    return 0


async def _call(args: Namespace) -> int:
    return await CallOfAgent(args).run()


async def _top(args: Namespace) -> int:
    top, looks = Top(), 0
    async with connected(server_of(args)) as connection:
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how one leaves
            while args.count is None or looks < args.count:
                if looks:
                    await asyncio.sleep(args.every)
                top.show(await _found(args, connection, stats=True))
                looks += 1
    return 0


_ACTIONS: Final[dict[str, Callable[[Namespace], Coroutine[Any, Any, int]]]] = {
    "ls": _ls,
    "info": _info,
    "call": _call,
    "top": _top,
}

__all__ = ["AgentsCommand", "command"]
