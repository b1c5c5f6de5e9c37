"""A period of time, as a user writes it: a moment, or how long ago."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import dataclass
from datetime import UTC, datetime

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: Unix seconds, or seconds before now."""

    seconds: float
    is_ago: bool = False

    def at(self, now: float) -> float:
        """Unix seconds, given those of now."""
        return now - self.seconds if self.is_ago else self.seconds


def moment(text: str) -> Moment:
    """ "15m", "2h", "1.5d" ago, or a time in ISO 8601; without an offset it is in UTC."""
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return Moment(float(ago[1]) * _SECONDS[ago[2]], is_ago=True)
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError as error:
        msg = "must be a time as 2025-01-31T12:00:00Z, or how long ago as 90s, 15m, 2h or 1d"
        raise ValueError(msg) from error
    return Moment((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment up to, and without, another one; None is open."""

    since: float | None
    until: float | None

    def __contains__(self, seconds: float) -> bool:
        since, until = self.since, self.until
        return (since is None or seconds >= since) and (until is None or seconds < until)


def add_period(parser: ArgumentParser, what: str) -> None:
    """The options `--since` and `--until`."""
    form = "a time, or how long ago as 15m, 2h or 1d"
    parser.add_argument("--since", type=_checked, metavar="T", help=f"only {what} since: {form}")
    parser.add_argument("--until", type=_checked, metavar="T", help=f"only {what} before: {form}")


def _checked(text: str) -> Moment:
    try:
        return moment(text)
    except ValueError as error:
        msg = f"{text!r}: {error}"
        raise ArgumentTypeError(msg) from error


def period(since: Moment | None, until: Moment | None, *, now: float) -> Period:
    """The period between two moments."""
    return Period(
        None if since is None else since.at(now), None if until is None else until.at(now)
    )


__all__ = ["Moment", "Period", "add_period", "moment", "period"]
