"""Log records on standard error, with the payload of the runtime's own records."""

from __future__ import annotations

import logging

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "event"}


class _Line(logging.Formatter):
    """One line per record: what happened, and what the record says about it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides
        line = super().formatMessage(record)
        details = (
            f"{key}={value!r}" if isinstance(value, str) and " " in value else f"{key}={value}"
            for key, value in vars(record).items()
            if key not in _PLAIN and value is not None
        )
        return " ".join((line, *details))


def show_logs(level: str) -> None:
    """Show records from this level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def level(text: str) -> str:
    """The name of a log level, for an option."""
    if text.upper() not in logging.getLevelNamesMapping():
        msg = "must be one of debug, info, warning, error"
        raise ValueError(msg)
    return text.lower()


__all__ = ["level", "show_logs"]
