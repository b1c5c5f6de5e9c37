"""Where entries go that cannot be processed: kept with the reason, never dropped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from penguiflow.durable.log import Stored


class Reason(StrEnum):
    """Why an entry was buried."""

    MALFORMED = "malformed"
    TOO_NEW = "too_new"
    WRONG_TENANT = "wrong_tenant"
    UNKNOWN_TYPE = "unknown_type"
    TOO_LARGE = "too_large"
    POISON = "poison"
    """It was delivered too often without ever being settled: it may kill its process."""
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


class DeadLetters(Protocol):
    """The tenant's dead letters."""

    async def bury(self, letter: DeadLetter) -> None:
        """Keep the letter; burying the same entry for the same node again keeps one.

        Raises:
            LogError: it could not be kept; the entry must not be settled then.
        """

    async def letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        """The oldest letters of the flow."""
