"""Finds agents by asking all micro services (ADR-32), and names one by skill and version.

Whoever may answer on `$SRV` can claim to be an agent of any tenant: what is found here is as
trustworthy as the account. Calls stay on the subjects of the caller's own tenant in any case.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec import Struct

from penguiflow_nats.call_subjects import BadAgentAddress, is_agent_name
from penguiflow_nats.connection import Connection
from penguiflow_nats.incoming import Incoming

QUIET: Final = 0.3
"""Seconds without another reply after which everybody is taken to have answered."""
LIMIT: Final = 2.0
"""Seconds after which nobody is waited for any more."""
_MOST: Final = 10_000
"""Replies that are kept: a service that does not stop must not fill the memory."""
_NO_RESPONDERS: Final = 503

_BY_SKILL = re.compile(r"nats://(?:([A-Za-z0-9_-]{1,64})/)?\?(.+)")
_NUMBER = re.compile(r"\d+")


class AgentNotKnown(LookupError):
    """No agent with such a skill answers.

    Attributes:
        skill: What was looked for.
    """

    def __init__(self, skill: str, version: str | None, tenant: str, near: Iterable[str]) -> None:
        wanted = f"skill {skill!r}" + (f" in version {version}" if version else "")
        others = ", ".join(near)
        hint = f"; there are {others}" if others else "; no agent answers"
        super().__init__(f"no agent of tenant {tenant!r} has {wanted}{hint}")
        self.skill = skill


# ---- what is found -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSkill:
    """A skill of a replica, and its counters if they were asked for."""

    name: str
    description: str = ""
    input_schema: Any = None
    output_schema: Any = None
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    """Together, of all requests."""
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundReplica:
    """One process that serves an agent."""

    id: str
    agent: str
    version: str
    tenant: str
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    started: str = ""
    """When, as it says itself; only beside counters."""
    skills: tuple[FoundSkill, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundAgent:
    """An agent: all of its replicas that answered, at least one."""

    name: str
    replicas: tuple[FoundReplica, ...]

    @property
    def address(self) -> str:
        """For a `RemoteNode`."""
        return f"nats://{self.name}"

    @property
    def versions(self) -> list[str]:
        """Of its replicas, the newest first; more than one during an update."""
        return sorted({each.version for each in self.replicas}, key=version_key, reverse=True)

    @property
    def description(self) -> str:
        """As one of its newest replicas says."""
        return self.replicas[0].description

    @property
    def skills(self) -> list[FoundSkill]:
        """By name, described by the newest replica, the counters of all together."""
        found: dict[str, list[FoundSkill]] = {}
        for replica in self.replicas:
            for skill in replica.skills:
                found.setdefault(skill.name, []).append(skill)
        return [_together(found[name]) for name in sorted(found)]

    def offers(self, skill: str, version: str | None) -> bool:
        """Whether a call may go there: each replica must have the skill, in a fitting version,
        because any of them may take the call."""
        return all(
            (version is None or _fits(replica.version, version))
            and any(each.name == skill for each in replica.skills)
            for replica in self.replicas
        )


def _together(same: list[FoundSkill]) -> FoundSkill:
    first = same[0]
    return FoundSkill(
        name=first.name,
        description=first.description,
        input_schema=first.input_schema,
        output_schema=first.output_schema,
        requests=sum(each.requests for each in same),
        errors=sum(each.errors for each in same),
        seconds=sum(each.seconds for each in same),
        last_error=next((each.last_error for each in same if each.last_error), ""),
    )


def version_key(version: str) -> tuple[tuple[int, ...], bool, str]:
    """For sorting: by number, and a pre-release before its release."""
    release, _, rest = version.partition("+")[0].partition("-")
    return tuple(int(each) for each in _NUMBER.findall(release)), not rest, rest


def _fits(version: str, wanted: str) -> bool:
    """Whether "1.2.3" is the wanted "1", "1.2" or "1.2.3"."""
    return version == wanted or version.startswith(f"{wanted}.")


# ---- asking --------------------------------------------------------------------------------------


async def gather(
    connection: Connection, subject: str, *, quiet: float = QUIET, limit: float = LIMIT
) -> list[bytes]:
    """All replies to one request: until it is quiet, at the latest after `limit` seconds.

    On a long line the first reply takes its time, and so may the others: it has to be quiet for
    at least twice as long as the first one took.

    Raises:
        NatsError: there is no connection.
    """
    loop = asyncio.get_running_loop()
    replies: list[bytes] = []
    news = asyncio.Event()
    nobody = False

    def heard(message: Incoming) -> None:
        nonlocal nobody
        nobody = nobody or message.status == _NO_RESPONDERS
        if not nobody and len(replies) < _MOST:
            replies.append(message.data)
        news.set()

    inbox = connection.new_inbox()
    subscription = connection.subscribe(inbox, heard)
    try:
        began = loop.time()
        connection.publish(subject, reply=inbox)
        wait = limit
        while not nobody and (left := began + limit - loop.time()) > 0:
            news.clear()
            try:
                await asyncio.wait_for(news.wait(), min(wait, left))
            except TimeoutError:
                break
            if wait == limit:
                wait = max(quiet, 2 * (loop.time() - began))
    finally:
        subscription.unsubscribe()
    return replies


class _Endpoint(Struct):
    name: str = ""
    metadata: dict[str, str] | None = None
    num_requests: int = 0
    num_errors: int = 0
    processing_time: int = 0
    last_error: str = ""


class _Service(Struct):
    name: str
    id: str
    version: str = ""
    description: str = ""
    metadata: dict[str, str] | None = None
    started: str = ""
    endpoints: list[_Endpoint] = []


_read = msgspec.json.Decoder(_Service).decode


async def find_agents(
    connection: Connection,
    *,
    tenant: str = "default",
    name: str | None = None,
    stats: bool = False,
    quiet: float = QUIET,
    limit: float = LIMIT,
) -> list[FoundAgent]:
    """The agents of a tenant that answer now, by name.

    Args:
        connection: Where to ask.
        tenant: Whose agents.
        name: Only this agent.
        stats: Ask for the counters, too.
        quiet: See `gather`.
        limit: See `gather`.

    Raises:
        NatsError: there is no connection.
    """
    suffix = f".{name}" if name is not None else ""
    verbs = ("INFO", "STATS") if stats else ("INFO",)
    answers = await asyncio.gather(
        *(gather(connection, f"$SRV.{verb}{suffix}", quiet=quiet, limit=limit) for verb in verbs)
    )
    infos, counted = _services(answers[0], tenant), {}
    if stats:
        counted = {each.id: each for each in _services(answers[1], tenant)}
    found: dict[str, list[FoundReplica]] = {}
    for info in infos:
        if name in (None, info.name):
            found.setdefault(info.name, []).append(_replica(info, counted.get(info.id), tenant))
    for replicas in found.values():
        replicas.sort(key=lambda each: each.id)
        replicas.sort(key=lambda each: version_key(each.version), reverse=True)
    return [FoundAgent(each, tuple(found[each])) for each in sorted(found)]


def _services(replies: list[bytes], tenant: str) -> list[_Service]:
    """Those of the tenant's agents. Other services, and what cannot be read, are none."""
    found: dict[str, _Service] = {}
    for reply in replies:
        try:
            service = _read(reply)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        own = service.metadata or {}
        if "penguiflow" in own and own.get("tenant") == tenant and is_agent_name(service.name):
            found.setdefault(service.id, service)
    return list(found.values())


def _replica(info: _Service, stats: _Service | None, tenant: str) -> FoundReplica:
    counted = {each.name: each for each in stats.endpoints} if stats is not None else {}
    return FoundReplica(
        id=info.id,
        agent=info.name,
        version=info.version,
        tenant=tenant,
        description=info.description,
        metadata=info.metadata or {},
        started=stats.started if stats is not None else "",
        skills=tuple(_skill(each, counted.get(each.name)) for each in info.endpoints),
    )


def _skill(info: _Endpoint, stats: _Endpoint | None) -> FoundSkill:
    metadata, stats = info.metadata or {}, stats or _Endpoint()
    return FoundSkill(
        name=metadata.get("skill", info.name),
        description=metadata.get("description", ""),
        input_schema=_schema(metadata.get("input_schema")),
        output_schema=_schema(metadata.get("output_schema")),
        requests=stats.num_requests,
        errors=stats.num_errors,
        seconds=stats.processing_time / 1e9,
        last_error=stats.last_error,
    )


def _schema(text: str | None) -> Any:
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


# ---- by skill ------------------------------------------------------------------------------------


async def find_agent(
    connection: Connection,
    *,
    skill: str,
    version: str | None = None,
    tenant: str = "default",
    quiet: float = QUIET,
    limit: float = LIMIT,
) -> str:
    """The address of an agent that has a skill.

    Of several, the one in the newest version, then the first by name: whoever asks again, from
    any process, gets the same as long as the same agents are there, so that a repeated call with
    an idempotency key stays one task.

    Args:
        connection: Where to ask.
        skill: Name of the skill.
        version: "1", "1.2" or "1.2.3"; an agent counts only if all of its replicas fit.
        tenant: Whose agents.
        quiet: See `gather`.
        limit: See `gather`.

    Raises:
        AgentNotKnown: none has it.
        NatsError: there is no connection.
    """
    agents = await find_agents(connection, tenant=tenant, quiet=quiet, limit=limit)
    fitting = [each for each in agents if each.offers(skill, version)]
    if not fitting:
        near = (f"{each.name} {'/'.join(each.versions)}" for each in agents)
        raise AgentNotKnown(skill, version, tenant, near)
    newest = max(version_key(each.versions[0]) for each in fitting)
    return next(each.address for each in fitting if version_key(each.versions[0]) == newest)


@dataclass(frozen=True, slots=True)
class SkillAddress:
    """An agent by what it can do: `nats://?skill=<skill>&version=<version>`, or
    `nats://<tenant>/?skill=<skill>`."""

    skill: str
    version: str | None = None
    tenant: str | None = None

    def __str__(self) -> str:
        fields = {"skill": self.skill} | ({"version": self.version} if self.version else {})
        return f"nats://{self.tenant + '/' if self.tenant else ''}?{urlencode(fields)}"

    @classmethod
    def parse(cls, address: str) -> SkillAddress | None:
        """None when the address has no query, and so names its agent.

        Raises:
            BadAgentAddress: the query is something else than a skill and maybe a version.
        """
        match = _BY_SKILL.fullmatch(address)
        if match is None:
            return None
        try:
            pairs = parse_qsl(match[2], strict_parsing=True, max_num_fields=2)
        except ValueError:
            raise BadAgentAddress(address) from None
        fields = dict(pairs)
        if len(fields) != len(pairs) or not fields.keys() <= {"skill", "version"}:
            raise BadAgentAddress(address)
        if not fields.get("skill"):
            raise BadAgentAddress(address)
        return cls(fields["skill"], fields.get("version"), match[1])


__all__ = [
    "AgentNotKnown",
    "FoundAgent",
    "FoundReplica",
    "FoundSkill",
    "SkillAddress",
    "find_agent",
    "find_agents",
    "gather",
]
