"""An agent as a module names it, and a process that is a replica of it; the command around it is
`agent_command.py`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from penguiflow.flow import PenguiFlow
from penguiflow.telemetry.instrument import Instrument
from penguiflow_nats.agent import Agent, AgentOptions, serve
from penguiflow_nats.agent_skills import Skill
from penguiflow_nats.call_streams import CallStorage
from penguiflow_nats.runtime import Server


class AgentSpec:
    """An agent as a module names it: `agent = AgentSpec("summary", skills=[...])`.

    Args:
        name: Name of the agent.
        handler: The handler of skills that have none of their own; see `serve`.
        skills: What it can do.
        options: How a replica works.
        types: More types that messages and results may hold.
        registry: The models of nodes that validate, when flows are served.
    """

    def __init__(
        self,
        name: str,
        handler: Any = None,
        *,
        skills: Sequence[Skill | str] | None = None,
        options: AgentOptions | None = None,
        types: Sequence[type] = (),
        registry: Any = None,
    ) -> None:
        self.name = name
        self.handler = handler
        self.skills = skills
        self.options = options
        self.types = types
        self.registry = registry

    @asynccontextmanager
    async def serve(
        self,
        server: Server,
        *,
        tenant: str = "default",
        options: AgentOptions | None = None,
        drain: float = 30.0,
        storage: CallStorage | None = None,
        telemetry: Instrument | None = None,
    ) -> AsyncIterator[Agent]:
        """Be a replica until the block ends; as `penguiflow_nats.agent.serve`."""
        async with serve(
            self.handler,
            server,
            agent=self.name,
            skills=self.skills,
            tenant=tenant,
            options=options or self.options or AgentOptions(),
            drain=drain,
            types=self.types,
            registry=self.registry,
            storage=storage,
            telemetry=telemetry,
        ) as replica:
            yield replica


class BadAgentSpec(ValueError):
    """A text names no agent; it says what is missing."""


def load_agent(spec: str) -> AgentSpec:
    """The agent that `module:attribute` names: an `AgentSpec`, a handler or a flow.

    Raises:
        BadAgentSpec: there is none.
    """
    module_name, colon, attribute = spec.partition(":")
    if not (colon and module_name and attribute):
        msg = f"{spec!r} is not of the form module:attribute"
        raise BadAgentSpec(msg)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        msg = f"no module {error.name!r} (of {spec!r})"
        raise BadAgentSpec(msg) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            msg = f"module {module_name!r} has no {attribute!r}"
            raise BadAgentSpec(msg) from error
    return as_agent(found, spec)


def as_agent(found: Any, spec: str) -> AgentSpec:
    """The agent that an object is: an `AgentSpec`, a handler or a flow.

    Raises:
        BadAgentSpec: it is none.
    """
    attribute = spec.rpartition(":")[2].rpartition(".")[2]
    if isinstance(found, AgentSpec):
        return found
    if isinstance(found, PenguiFlow):
        return AgentSpec(found.name or attribute, found)
    if isinstance(found, type) or not callable(found):
        msg = f"{spec!r} is {type(found).__name__}, not an AgentSpec, a handler or a flow"
        raise BadAgentSpec(msg)
    return AgentSpec(getattr(found, "__name__", attribute), found)


async def run_agent(
    spec: str | AgentSpec,
    server: Server = "nats://127.0.0.1:4222",
    *,
    tenant: str = "default",
    options: AgentOptions | None = None,
    drain: float = 30.0,
    storage: CallStorage | None = None,
    telemetry: Instrument | None = None,
    ready: Callable[[Agent], None] | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Be a replica until SIGTERM or SIGINT; then drain.

    Args:
        spec: `module:attribute`, or the agent itself.
        server: Where the server is.
        tenant: Whose calls to take.
        options: How the replica works, by default as the agent says.
        drain: Seconds to finish what is in work.
        storage: How much the streams hold and how safely, if they have to be created.
        telemetry: Observes the calls that are answered here.
        ready: Called when the replica takes calls.
        stop: Set it to stop instead of a signal; then no signal handler is installed.

    Returns:
        The exit status, 0.

    Raises:
        BadAgentSpec: `spec` names no agent.
        NatsError: the server cannot be reached or refuses.
    """
    agent = load_agent(spec) if isinstance(spec, str) else spec
    stopping = stop or asyncio.Event()
    with contextlib.ExitStack() as stack:
        if stop is None:
            _stop_by_signal(stopping, stack)
        async with agent.serve(
            server,
            tenant=tenant,
            options=options,
            drain=drain,
            storage=storage,
            telemetry=telemetry,
        ) as replica:
            if ready is not None:
                ready(replica)
            await stopping.wait()
    return 0


def _stop_by_signal(stopping: asyncio.Event, stack: contextlib.ExitStack) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
        stack.callback(loop.remove_signal_handler, number)


__all__ = ["AgentSpec", "BadAgentSpec", "as_agent", "load_agent", "run_agent"]
