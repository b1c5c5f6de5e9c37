"""Subjects of the protocol. Pure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final, Self

SERVICE: Final = "agents"
"""Name of every registration, and the queue group of its endpoints."""
VERSION: Final = "0.3"

_AGENT = re.compile(r"[a-z0-9-]+")
_OTHER = re.compile(r"[a-z0-9_-]+")
_LONGEST: Final = 128


class BadToken(ValueError):
    """A name cannot be a token of the protocol's subjects."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where one session of an agent is found."""

    agent: str
    owner: str
    session: str

    @classmethod
    def of(cls, agent: str, owner: str, session: str) -> Self:
        """The tokens: an owner or session of other characters is written as base64url.

        Raises:
            BadToken: the agent's name has other characters, or one of them is empty or too long.
        """
        if not _AGENT.fullmatch(agent):
            msg = f"agent {agent!r}: the protocol allows lower-case letters, digits and '-' only"
            raise BadToken(msg)
        names = cls(agent, _token(owner, "owner"), _token(session, "session"))
        if max(map(len, (names.agent, names.owner, names.session))) > _LONGEST:
            msg = f"a name is longer than {_LONGEST} characters, as it is written in subjects"
            raise BadToken(msg)
        return names

    def subject(self, verb: str) -> str:
        """`prompt`, `status`, `hb`, or our own `cancel`."""
        return f"{SERVICE}.{verb}.{self.agent}.{self.owner}.{self.session}"


def _token(text: str, what: str) -> str:
    if not text:
        msg = f"{what} must not be empty"
        raise BadToken(msg)
    if _OTHER.fullmatch(text):
        return text
    return base64.urlsafe_b64encode(text.encode("utf-8", "replace")).rstrip(b"=").decode()


__all__ = ["SERVICE", "VERSION", "BadToken", "Names"]
