"""What of a payload may leave by a span: nothing, unless its user says what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.outcomes import error_type

Redact = Callable[[str, Any], str | None]
"""Given what it is ("input", "output" or "exception") and the value, gives the text that may leave
the process, or None for nothing."""

_LONGEST = 4096
"""Characters of a value on a span."""


class Redaction:
    """Asks the user's hook; without one no value and no message of an exception leaves."""

    def __init__(self, redact: Redact | None) -> None:
        self._redact = redact
        self.shows_values: bool = redact is not None

    def text(self, what: str, value: Any) -> str | None:
        """What may be shown of a value."""
        if self._redact is None:
            return None
        try:
            text = self._redact(what, value)
        except Exception:  # noqa: BLE001 - a hook that fails shows nothing, and harms no flow
            return None
        return None if text is None else text[:_LONGEST]

    def exception(self, error: BaseException) -> dict[str, Any]:
        """The attributes of an `exception` event. A message may quote the payload."""
        attributes = {c.EXCEPTION_TYPE: error_type(error)}
        message = self.text("exception", error)
        if message is not None:
            attributes[c.EXCEPTION_MESSAGE] = message
        return attributes


__all__ = ["Redact", "Redaction"]
