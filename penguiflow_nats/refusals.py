"""What the server's refusal of a write means to the log. Pure."""

from __future__ import annotations

from penguiflow.durable.log import AlreadyCommitted, InputGone, LogError, LogFull, TraceEnded
from penguiflow_nats import error_codes
from penguiflow_nats.errors import ApiError


def refusal_of(error: ApiError, *, expects_absence: bool) -> LogError:
    """What the server's refusal of a write means to the log."""
    code = error.err_code
    if code == error_codes.MAXIMUM_REACHED:
        if error_codes.SUBJECT_TAKEN_TEXT in error.description:
            return AlreadyCommitted(str(error))
        return LogFull(str(error))
    if code == error_codes.WRONG_LAST_SEQUENCE:
        return TraceEnded(str(error)) if expects_absence else InputGone(str(error))
    if code == error_codes.INSUFFICIENT_RESOURCES:
        return LogFull(str(error))
    return LogError(str(error))
