"""Subjects and names of calls to agents. Pure. The wire is described in `docs/remote-calls.md`.

pf.v1.<tenant>.call.<agent>.<task>        a request; stored, one per task
pf.v1.<tenant>.reply.<task>.state         where the task stands: starts, then one end; stored
pf.v1.<tenant>.reply.<task>.<epoch>       its events by epoch, numbered; stored
pf.v1.<tenant>.news.<task>.<rest>         each of the two again, as soon as it is stored
pf.v1.<tenant>.cancel.<agent>             tells the agent's replicas to look at a task
pf.v1.<tenant>.ask.<agent>                a plain request, not stored
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penguiflow.durable.tokens import HASHED, is_token, token
from penguiflow_nats.subjects import PREFIX

_ADDRESS = re.compile(r"nats://(?:([A-Za-z0-9_-]{1,64})/)?([A-Za-z0-9_-]{1,64})")

STATE = "state"
"""Last token of the subject of a task's state."""


class BadAgentAddress(ValueError):
    """An agent's address has another form than `nats://<agent>` or `nats://<tenant>/<agent>`."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address[:200]!r} is no address of an agent: use nats://<agent> or "
            "nats://<tenant>/<agent>, with letters, digits, '_' and '-', at most 64 each"
        )


def is_agent_name(text: str) -> bool:
    """Whether an agent may be called so."""
    return is_token(text) and not text.startswith(("_", HASHED))


def checked_name(text: str) -> str:
    """The name of an agent. Raises ValueError when the text is none."""
    if not is_agent_name(text):
        msg = f"{text!r} is no name of an agent: use letters, digits, '_' and '-', at most 64"
        raise ValueError(msg)
    return text


def parse_address(address: str) -> tuple[str | None, str]:
    """Tenant (None when it is left out) and agent of an address.

    Raises:
        BadAgentAddress: it has another form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not is_agent_name(match[2]):
        raise BadAgentAddress(address)
    return match[1], match[2]


def task_token(task_id: str) -> str:
    """How a task id is written in subjects."""
    return token(task_id)


@dataclass(frozen=True, slots=True)
class CallNames:
    """What the calls of a tenant are called on the server. Tasks are given by their token."""

    tenant: str

    @property
    def root(self) -> str:
        """The tenant's subjects."""
        return f"{PREFIX}.{token(self.tenant)}"

    @property
    def calls_stream(self) -> str:
        """The stream of requests."""
        return f"PF_{token(self.tenant)}_CALLS"

    @property
    def replies_stream(self) -> str:
        """The stream of states and events."""
        return f"PF_{token(self.tenant)}_REPLIES"

    @property
    def calls_bucket(self) -> str:
        """The object bucket of values that are too large for a message."""
        return f"PF_{token(self.tenant)}_CALLS"

    @property
    def calls(self) -> str:
        """Every request."""
        return f"{self.root}.call.*.*"

    @property
    def replies(self) -> str:
        """Everything that agents answer."""
        return f"{self.root}.reply.>"

    @property
    def news(self) -> str:
        """The same, told when it is stored."""
        return f"{self.root}.news.>"

    @property
    def states(self) -> str:
        """The states of all tasks."""
        return f"{self.root}.reply.*.{STATE}"

    def request(self, agent: str, task: str) -> str:
        """The request of a task; `*` for all of an agent."""
        return f"{self.root}.call.{agent}.{task}"

    def consumer(self, agent: str) -> str:
        """The durable consumer that the agent's replicas share."""
        return f"agent_{agent}"

    def state(self, task: str) -> str:
        """Where a task stands."""
        return f"{self.root}.reply.{task}.{STATE}"

    def events(self, task: str, epoch: int) -> str:
        """The events of one epoch."""
        return f"{self.root}.reply.{task}.{epoch}"

    def answers(self, task: str) -> str:
        """All states and events of a task, stored."""
        return f"{self.root}.reply.{task}.*"

    def heard(self, task: str) -> str:
        """All states and events of a task, live."""
        return f"{self.root}.news.{task}.*"

    def cancel(self, agent: str) -> str:
        """Where an agent's replicas are told of cancelled tasks."""
        return f"{self.root}.cancel.{agent}"

    def ask(self, agent: str) -> str:
        """Where an agent takes plain requests."""
        return f"{self.root}.ask.{agent}"


def task_of(subject: str) -> str:
    """The task token of a request's or an answer's subject."""
    parts = subject.split(".")
    return parts[5] if parts[3] == "call" else parts[4]
