"""What a command says when it cannot do its work.

CommandError    exit status 1: it was asked for properly and failed
└── UsageError  exit status 2: it was asked for something that cannot be
"""

from __future__ import annotations


class CommandError(Exception):
    """One sentence for the user, and what to do next.

    Attributes:
        hint: The next step, as a sentence without a full stop; empty when the text says it all.
    """

    status = 1

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint

    def line(self) -> str:
        """The whole as one line."""
        text = " ".join(str(self).split())
        hint = " ".join(self.hint.split())
        return f"error: {text}; hint: {hint}" if hint else f"error: {text}"


class UsageError(CommandError):
    """The command line, or a variable of the environment, asks for something that cannot be."""

    status = 2


__all__ = ["CommandError", "UsageError"]
