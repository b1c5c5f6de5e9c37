"""`penguiflow agent module:agent`: a process that is a replica of an agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.loading import load
from penguiflow.cli.logs import level, show_logs
from penguiflow.cli.memory import settle_collector
from penguiflow.cli.observing import add_telemetry, observed
from penguiflow.cli.options import count, option, seconds
from penguiflow.cli.output import tell
from penguiflow.telemetry import Instrument
from penguiflow_nats.agent import Agent, AgentOptions, BadHandler
from penguiflow_nats.commands.agent import AgentSpec, BadAgentSpec, as_agent, run_agent
from penguiflow_nats.commands.shared import add_server, explained, server_of
from penguiflow_nats.errors import ConnectFailed
from penguiflow_nats.synadia import FrontOptions, SynadiaFront, answering

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_GOODBYE: Final = 10.0
"""Seconds beyond the drain limit in which handlers that were cancelled have to end."""
_AGAIN: Final = 0.25
"""Seconds between two attempts to reach a server that is not there yet."""


class AgentCommand:
    """Takes calls until it is told to stop; then drains and ends with status 0."""

    name = "agent"
    help = "be a replica of an agent until SIGTERM or Ctrl-C"

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "agent",
            metavar="MODULE:AGENT",
            help="an AgentSpec, a handler or a flow, as in app.agents:agent or app/agents.py:agent",
        )
        for flag, env, kind, metavar, text in (
            ("--name", "PENGUIFLOW_AGENT", str, "A", "name of the agent, if not its own"),
            ("--concurrency", "PENGUIFLOW_CONCURRENCY", count, "N", "calls in work at once"),
            (
                "--lease",
                "PENGUIFLOW_LEASE",
                seconds,
                "S",
                "seconds of silence after which another replica takes a call over",
            ),
            (
                "--retain",
                "PENGUIFLOW_RETAIN",
                seconds,
                "S",
                "seconds for which a task is kept after its end",
            ),
        ):
            option(parser, flag, env=env, type=kind, metavar=metavar, help=text)
        parser.add_argument(
            "--prompts",
            metavar="SKILL",
            help="also answer clients of the Synadia agent protocol by this skill",
        )
        option(
            parser,
            "--owner",
            env="PENGUIFLOW_OWNER",
            default="penguiflow",
            metavar="O",
            help="whose agent it is, for those clients",
        )
        _add_process(parser)
        add_telemetry(parser)
        add_server(parser)

    def run(self, args: Namespace) -> int:
        show_logs(args.log_level)
        with explained(args):
            process = _Process(args, _agent(args))
            settle_collector()
            return asyncio.run(process.serve())


command = AgentCommand()


def _add_process(parser: ArgumentParser) -> None:
    """How the process begins and ends."""
    option(
        parser,
        "--drain",
        env="PENGUIFLOW_DRAIN",
        type=seconds,
        default=30.0,
        metavar="S",
        help="seconds to finish what is in work after the signal; a second one ends at once",
    )
    option(
        parser,
        "--wait",
        env="PENGUIFLOW_WAIT",
        type=seconds,
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


def _agent(args: Namespace) -> AgentSpec:
    found = load(args.agent, object, "an AgentSpec, a handler or a flow")
    try:
        agent = as_agent(found, args.agent)
    except BadAgentSpec as error:
        raise UsageError(str(error)) from error
    agent.name = args.name or agent.name
    return agent


class _Process:
    """One process of an agent: its readiness and its end."""

    def __init__(self, args: Namespace, agent: AgentSpec) -> None:
        self._args = args
        self._agent = agent
        self._stopping = asyncio.Event()
        self._front: SynadiaFront | None = None
        self._telemetry: Instrument | None = None

    async def serve(self) -> int:
        """Take calls until a signal; wait for the server as long as may be waited."""
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.add_signal_handler(each, self._signalled, each)
        async with observed(self._args, self._agent.name) as self._telemetry:
            return await self._served()

    async def _served(self) -> int:
        loop = asyncio.get_running_loop()
        give_up, waiting = loop.time() + self._args.wait, False
        while not self._stopping.is_set():
            try:
                return await self._serve()
            except ConnectFailed as error:
                if loop.time() >= give_up:
                    raise
                if not waiting:
                    tell(f"waiting for the server for at most {self._args.wait:g} s: {error}")
                waiting = True
            except (BadHandler, ValueError) as error:
                raise UsageError(str(error)) from error
            except RuntimeError as error:  # a registry without the models of the flow's nodes
                raise CommandError(str(error)) from error
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _AGAIN)
        return 0

    async def _serve(self) -> int:
        async with self._prompts() as self._front:
            return await run_agent(
                self._agent,
                server_of(self._args),
                tenant=self._args.tenant,
                options=self._options(),
                drain=self._args.drain,
                telemetry=self._telemetry,
                ready=self._ready,
                stop=self._stopping,
            )

    @asynccontextmanager
    async def _prompts(self) -> AsyncIterator[SynadiaFront | None]:
        """The front for the other protocol, if it is wanted. It ends after the replica: calls
        that are drained still have somebody to tell."""
        args, options = self._args, self._options()
        if args.prompts is None:
            yield None
            return
        async with answering(
            server_of(args),
            agent=self._agent.name,
            skill=args.prompts,
            owner=args.owner,
            tenant=args.tenant,
            drain=1.0,
            options=FrontOptions(version=options.version, description=options.description),
        ) as front:
            yield front

    def _options(self) -> AgentOptions:
        """As the agent says, changed by what was asked for here."""
        args = vars(self._args)
        names = ("concurrency", "lease", "retain")
        given = {name: args[name] for name in names if args[name] is not None}
        return replace(self._agent.options or AgentOptions(), **given)

    def _ready(self, replica: Agent) -> None:
        """What a parent process may wait for."""
        tell(f"agent {replica.name} ready: replica {replica.id}, tenant {self._args.tenant}")

    def _signalled(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            tell(f"{number.name} again: ending at once")
            _leave(128 + number)
        self._stopping.set()
        if self._front is not None:
            self._front.pause()
        tell(f"{number.name}: draining for at most {self._args.drain:g} s")
        loop = asyncio.get_running_loop()
        loop.call_later(self._args.drain + _GOODBYE, self._overdue)

    def _overdue(self) -> None:
        """A handler does not end. Its call was not settled, so another replica is given it."""
        tell("the drain limit is reached; other replicas take over what was in work")
        _leave(0)


def _leave(status: int) -> None:
    """End now, without waiting for handlers. The stream knows all that counts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


__all__ = ["AgentCommand", "command"]
