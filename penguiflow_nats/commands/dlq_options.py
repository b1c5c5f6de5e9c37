"""Which dead letters a command means."""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime

from penguiflow.cli.errors import UsageError
from penguiflow.durable.dead_letters import Reason, Selection

_AGO = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ID = re.compile(r"[0-9a-f]{4,32}")


def point_in_time(text: str) -> float:
    """Seconds since the epoch of `90m` (so long ago) or of an ISO 8601 time, UTC by default."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return time.time() - float(ago[1]) * _SECONDS[ago[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = "must be a time as 2026-11-24T12:00:00Z, or how long ago as 90m, 12h, 7d"
        raise ValueError(msg) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def add_selection(parser: ArgumentParser, *, ids: bool = True, flow: bool = True) -> None:
    """Ids and filters."""
    if ids:
        parser.add_argument("ids", nargs="*", metavar="ID", help="or its first digits, from `ls`")
    if flow:
        parser.add_argument("--flow", metavar="NAME-VERSION", help="of this flow")
    parser.add_argument("--node", metavar="N", help="buried for this node")
    parser.add_argument(
        "--reason",
        action="append",
        choices=[reason.value for reason in Reason],
        help="buried for this reason; may be repeated",
    )
    parser.add_argument("--trace", metavar="TRACE_ID", help="of this trace")
    parser.add_argument("--since", type=_time, metavar="T", help="buried then or later: 2h, 7d")
    parser.add_argument("--until", type=_time, metavar="T", help="buried before then")


def selected(args: Namespace) -> Selection:
    """What the arguments select.

    Raises:
        UsageError: something among the ids cannot be one.
    """
    ids = tuple(getattr(args, "ids", ()) or ())
    for each in ids:
        if _ID.fullmatch(each) is None:
            text = f"{each!r} is no id of a dead letter"
            raise UsageError(text, hint="`penguiflow dlq ls` lists them; 4 digits are enough")
    return Selection(
        ids=ids,
        flow=getattr(args, "flow_token", None) or getattr(args, "flow", None),
        node=args.node,
        reasons=tuple(Reason(each) for each in args.reason or ()),
        trace=args.trace,
        since=args.since,
        until=args.until,
    )


def _time(text: str) -> float:
    try:
        return point_in_time(text)
    except ValueError as error:
        # argparse shows the text of this error only.
        raise ArgumentTypeError(str(error)) from error


__all__ = ["add_selection", "point_in_time", "selected"]
