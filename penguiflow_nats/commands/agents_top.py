"""`penguiflow agents top`: counters of all skills, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from penguiflow.cli.output import say
from penguiflow_nats.commands.agents_text import average, table
from penguiflow_nats.discovery import FoundAgent

_CLEAR = "\x1b[H\x1b[2J"
_HEAD = ("AGENT", "VERSION", "REPLICAS", "SKILL", "CALLS", "PER SECOND", "ERRORS", "MEAN")


class Top:
    """Shows one look after the other; on a terminal in the place of the one before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], int] = {}
        self._at: float | None = None

    def show(self, agents: Sequence[FoundAgent]) -> None:
        """The next look."""
        text = table(_HEAD, self._rows(agents))
        if not sys.stdout.isatty():
            say(text)
            return
        sys.stdout.write(_CLEAR)
        say(f"{time.strftime('%H:%M:%S')}  {len(agents)} agents, Ctrl-C ends\n\n{text}")

    def _rows(self, agents: Sequence[FoundAgent]) -> list[tuple[str, ...]]:
        now, past = time.monotonic(), self._at
        before, self._before, self._at = self._before, {}, now
        rows: list[tuple[str, ...]] = []
        for agent in agents:
            new: dict[str, int] = {}
            for replica in agent.replicas:
                for skill in replica.skills:
                    key = (replica.id, skill.name)
                    self._before[key] = skill.requests
                    # A replica that was not there before began to count only now.
                    new[skill.name] = new.get(skill.name, 0) + skill.requests - before.get(key, 0)
            for skill in agent.skills:
                rate = "-" if past is None else f"{new[skill.name] / (now - past):.1f}"
                rows.append(
                    (
                        agent.name,
                        "/".join(agent.versions),
                        str(len(agent.replicas)),
                        skill.name,
                        str(skill.requests),
                        rate,
                        str(skill.errors),
                        average(skill),
                    )
                )
        return rows


__all__ = ["Top"]
