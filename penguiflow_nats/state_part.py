"""What the parts of the state store have in common."""

from __future__ import annotations

from penguiflow_nats.state_room import StateRoom


class StatePart:
    """One capability of the store, over the buckets that all of them share."""

    def __init__(self, room: StateRoom) -> None:
        """Use the buckets."""
        self._room = room


__all__ = ["StatePart"]
