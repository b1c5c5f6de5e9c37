"""Where the commands speak."""

from __future__ import annotations

import sys


def say(text: str = "") -> None:
    """A line of the command's result, on standard output."""
    print(text, flush=True)  # noqa: T201 - a command's output is what it is run for


def tell(text: str) -> None:
    """A line about how it goes, on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - as above


__all__ = ["say", "tell"]
