"""The agent of the census: a process of its own that says a paragraph about a package.

The demo starts it. By itself: ``PENGUIFLOW_NATS_URL=... python census_agent.py``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import census_bootstrap  # noqa: F401 - makes penguiflow importable
from census_models import PackageMetrics
from census_names import AGENT, SKILL, TENANT
from census_summary import report_on, summary_words

from penguiflow.telemetry import from_environment
from penguiflow.types import Message
from penguiflow_nats.agent import Agent
from penguiflow_nats.agent_skills import AgentContext, Result, Skill
from penguiflow_nats.commands.agent import AgentSpec, run_agent


async def summarise(message: Message, _ctx: AgentContext) -> AsyncIterator[str | Result]:
    """The figures of a package in; the words as they come, then figures and words together."""
    metrics = PackageMetrics.model_validate(message.payload)
    for word in summary_words(metrics):
        yield word
    yield Result(message.model_copy(update={"payload": report_on(metrics)}))


agent = AgentSpec(AGENT, skills=[Skill(SKILL, summarise, description="Describes a package")])


def _ready(replica: Agent) -> None:
    print(f"agent {replica.name} {replica.id} ready: skill {SKILL}", file=sys.stderr, flush=True)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    server = os.environ.get("PENGUIFLOW_NATS_URL", "nats://127.0.0.1:4222")
    return asyncio.run(_serve(server))


async def _serve(server: str) -> int:
    async with from_environment("census-agent") as telemetry:
        return await run_agent(agent, server, tenant=TENANT, telemetry=telemetry, ready=_ready)


if __name__ == "__main__":
    sys.exit(main())
