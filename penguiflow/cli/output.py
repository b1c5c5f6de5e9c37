"""Where the commands speak."""

from __future__ import annotations

import sys


def say(text: str = "") -> None:
    """A line of the command's result, on standard output."""
    print(shown(text), flush=True)  # noqa: T201 - a command's output is what it is run for


def tell(text: str) -> None:
    """A line about how it goes, on standard error."""
    print(shown(text), file=sys.stderr, flush=True)  # noqa: T201 - as above


def shown(text: str) -> str:
    """The text with nothing in it that would steer the terminal: ids and errors come from afar."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


__all__ = ["say", "shown", "tell"]
