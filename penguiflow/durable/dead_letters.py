"""Where entries go that cannot be processed: kept with the reason, never dropped."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from penguiflow.durable.log import Stored
from penguiflow.durable.tokens import trace_token


class Reason(StrEnum):
    """Why an entry was buried."""

    MALFORMED = "malformed"
    TOO_NEW = "too_new"
    WRONG_TENANT = "wrong_tenant"
    UNKNOWN_TYPE = "unknown_type"
    TOO_LARGE = "too_large"
    OBJECT_MISSING = "object_missing"
    """An object that it refers to is gone or damaged."""
    POISON = "poison"
    """It was delivered too often without ever being settled: it may kill its process."""
    JOIN_TIMEOUT = "join_timeout"
    """The join that it was for did not get all its messages in time."""
    FAILED = "failed"
    """The node used up its attempts."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A buried entry: what it was, for whom, and why it could not be processed."""

    stored: Stored
    node: str
    reason: Reason
    detail: str
    deliveries: int
    worker: str


@dataclass(frozen=True, slots=True)
class Buried:
    """A dead letter as its stream keeps it."""

    id: str
    """32 hex digits that follow from the entry; a part from the left names it too."""
    flow: str
    """The flow's token: name and version."""
    sequence: int
    """Its place in the stream of dead letters."""
    buried_at: float
    """Seconds since the epoch by the server's clock."""
    letter: DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are meant. What is left out selects all."""

    ids: Collection[str] = ()
    """Ids, or the first digits of ids."""
    flow: str | None = None
    """The flow's token."""
    node: str | None = None
    reasons: Collection[Reason] = ()
    trace: str | None = None
    """A trace id, as its user holds it."""
    since: float | None = None
    """Buried at this time or later, in seconds since the epoch."""
    until: float | None = None
    """Buried before this time."""

    @property
    def is_all(self) -> bool:
        """Whether nothing narrows it down but the flow."""
        chosen = (self.ids, self.node, self.reasons, self.trace, self.since, self.until)
        return not any(each not in (None, ()) and each != [] for each in chosen)

    def holds(self, buried: Buried) -> bool:
        """Whether the letter is meant."""
        letter = buried.letter
        return (
            (not self.ids or buried.id.startswith(tuple(self.ids)))
            and self.flow in (None, buried.flow)
            and self.node in (None, letter.node)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.trace is None or letter.stored.key.trace == trace_token(self.trace))
            and (self.since is None or buried.buried_at >= self.since)
            and (self.until is None or buried.buried_at < self.until)
        )


class DeadLetters(Protocol):
    """The tenant's dead letters."""

    async def bury(self, letter: DeadLetter) -> None:
        """Keep the letter; burying the same entry for the same node again keeps one.

        Raises:
            LogError: it could not be kept; the entry must not be settled then.
        """

    async def letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        """The oldest letters of the flow."""

    async def traces(self) -> frozenset[str]:
        """Tokens of the traces that have letters of the flow.

        Raises:
            LogError: no answer.
        """
