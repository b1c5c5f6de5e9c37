"""What goes wrong when a task is steered.

SteeringValidationError    an event lacks something, or has it in a wrong form
SteeringCancelled          a steering event cancelled the task
"""

from __future__ import annotations

from collections.abc import Iterable


class SteeringValidationError(ValueError):
    """A steering event is not valid; `errors` names everything that is wrong with it."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors: list[str] = list(errors)
        super().__init__(f"Invalid steering payload: {'; '.join(self.errors)}")


class SteeringCancelled(RuntimeError):
    """A steering event cancelled the task."""

    def __init__(self, reason: str = "steering_cancelled") -> None:
        super().__init__(reason)
        self.reason = reason
