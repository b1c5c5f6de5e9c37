"""Agents as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from pydantic_core import to_jsonable_python

from penguiflow_nats.discovery import FoundAgent, FoundSkill

_PERCENT = 100.0


def json_of(value: Any) -> str:
    """The value as indented JSON; what JSON has no form for, as its text."""
    plain = to_jsonable_python(_with_address(value), fallback=str, inf_nan_mode="null")
    return msgspec.json.format(msgspec.json.encode(plain)).decode()


def _with_address(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_address(each) for each in value]
    if isinstance(value, FoundAgent):
        return {
            "name": value.name,
            "address": value.address,
            "versions": value.versions,
            "description": value.description,
            "skills": value.skills,
            "replicas": value.replicas,
        }
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns beside each other; the last one as long as it is."""
    lines = [[" ".join(cell.split()) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head) - 1)]
    return "\n".join(
        "  ".join(
            [*(f"{cell:{w}}" for cell, w in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    )


def listed(agents: Sequence[FoundAgent]) -> str:
    """One line per agent."""
    return table(
        ("AGENT", "VERSION", "REPLICAS", "SKILLS", "DESCRIPTION"),
        [
            (
                each.name,
                "/".join(each.versions),
                str(len(each.replicas)),
                ",".join(skill.name for skill in each.skills),
                each.description,
            )
            for each in agents
        ],
    )


def described(agent: FoundAgent) -> str:
    """All that an agent says of itself."""
    lines = [
        f"{agent.name} {'/'.join(agent.versions)}  {agent.address}",
        *([agent.description] if agent.description else []),
    ]
    for skill in agent.skills:
        lines += ["", f"skill {skill.name}"]
        lines += [f"  {skill.description}"] if skill.description else []
        lines += [f"  input   {_schema(skill.input_schema)}"]
        lines += [f"  output  {_schema(skill.output_schema)}"]
        lines += [f"  {_counters(skill)}"]
    replicas = [(each.id, each.version, each.started) for each in agent.replicas]
    return "\n".join([*lines, "", table(("REPLICA", "VERSION", "STARTED"), replicas)])


def _schema(schema: Any) -> str:
    return "anything" if schema is None else msgspec.json.encode(schema).decode()


def _counters(skill: FoundSkill) -> str:
    if not skill.requests:
        return "not called yet"
    share = _PERCENT * skill.errors / skill.requests
    last = f", the last one {skill.last_error!r}" if skill.last_error else ""
    return f"{skill.requests} calls, {average(skill)}, {skill.errors} errors ({share:.0f}%){last}"


def average(skill: FoundSkill) -> str:
    """The mean time of a call."""
    return f"{1000 * skill.seconds / skill.requests:.1f} ms" if skill.requests else "-"


__all__ = ["average", "described", "json_of", "listed", "table"]
