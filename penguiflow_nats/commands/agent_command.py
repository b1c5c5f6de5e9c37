"""`penguiflow agent module:agent`: a process that is a replica of an agent."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.loading import load
from penguiflow.cli.logs import show_logs
from penguiflow.cli.memory import settle_collector
from penguiflow.cli.observing import add_telemetry, observed
from penguiflow.cli.options import count, option, seconds
from penguiflow.cli.output import tell
from penguiflow.cli.process import Draining, add_process
from penguiflow.telemetry import Instrument
from penguiflow_nats.agent import Agent, AgentOptions, BadHandler
from penguiflow_nats.commands.agent import AgentSpec, BadAgentSpec, as_agent, run_agent
from penguiflow_nats.commands.shared import add_server, explained, server_of
from penguiflow_nats.errors import ConnectFailed
from penguiflow_nats.synadia import FrontOptions, SynadiaFront, answering

_GOODBYE: Final = 10.0
"""Seconds beyond the drain limit in which handlers that were cancelled have to end."""


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
        add_process(parser, finish="what is in work")
        add_telemetry(parser)
        add_server(parser)

    def run(self, args: Namespace) -> int:
        show_logs(args.log_level)
        with explained(args):
            process = _Process(args, _agent(args))
            settle_collector()
            return asyncio.run(process.serve())


command = AgentCommand()


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
        self._draining = Draining(
            args.drain,
            grace=_GOODBYE,
            overdue="other replicas take over what was in work",
            on_stop=self._pause,
        )
        self._front: SynadiaFront | None = None
        self._telemetry: Instrument | None = None

    async def serve(self) -> int:
        """Take calls until a signal; wait for the server as long as may be waited."""
        self._draining.listen()
        async with observed(self._args, self._agent.name) as self._telemetry:
            status = await self._draining.once_reached(
                self._served, wait=self._args.wait, may_come=_may_come
            )
        return status or 0

    async def _served(self) -> int:
        try:
            return await self._serve()
        except (BadHandler, ValueError) as error:
            raise UsageError(str(error)) from error
        except RuntimeError as error:  # a registry without the models of the flow's nodes
            raise CommandError(str(error)) from error

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
                stop=self._draining.stopping,
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

    def _pause(self) -> None:
        if self._front is not None:
            self._front.pause()


def _may_come(error: Exception) -> bool:
    """Whether the server may just not be there yet."""
    return isinstance(error, ConnectFailed)


__all__ = ["AgentCommand", "command"]
