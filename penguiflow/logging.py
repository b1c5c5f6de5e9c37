"""Log output of a flow, as JSON or as text with the attributes of each record."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from penguiflow.events import RECORD_ATTRIBUTES

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_LONGEST_TEXT = 100
"""Characters of a string that are shown of an attribute in text."""


class StructuredFormatter(logging.Formatter):
    """One JSON object per record: level, logger, message, timestamp, extra, exception."""

    def __init__(self, include_timestamp: bool = True, indent: int | None = None) -> None:
        super().__init__()
        self._include_timestamp = include_timestamp
        self._indent = indent

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._include_timestamp:
            line["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        extra = _extra(record)
        if extra:
            line["extra"] = extra
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, indent=self._indent)


class ExtraFormatter(logging.Formatter):
    """Text, with the record's own attributes behind it: ` [attempt=1, node_name="parse"]`."""

    def __init__(self, fmt: str | None = None, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        text = super().formatMessage(record)
        shown = ", ".join(f"{key}={_shown(value)}" for key, value in _extra(record).items())
        return f"{text} [{shown}]" if shown else text


def configure_logging(
    level: int | str = logging.INFO,
    *,
    structured: bool = False,
    include_extras: bool = True,
    logger_name: str = "penguiflow",
) -> None:
    """Send the log of the package to stderr, and nowhere else.

    Replaces the logger's handlers and stops propagation to its parents.

    Args:
        level: Least level that is shown.
        structured: JSON lines instead of text.
        include_extras: Show each record's own attributes behind the text.
        logger_name: The logger to configure.
    """
    formatter: logging.Formatter
    if structured:
        formatter = StructuredFormatter()
    elif include_extras:
        formatter = ExtraFormatter(_TEXT)
    else:
        formatter = logging.Formatter(_TEXT)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logger = logging.getLogger(logger_name)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def _extra(record: logging.LogRecord) -> Mapping[str, Any]:
    """What was passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in RECORD_ATTRIBUTES}


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return str(value)
    return f'"{value[:_LONGEST_TEXT]}{"..." if len(value) > _LONGEST_TEXT else ""}"'


__all__ = ["ExtraFormatter", "StructuredFormatter", "configure_logging"]
