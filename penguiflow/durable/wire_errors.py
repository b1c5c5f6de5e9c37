"""What can be wrong with bytes and values on the wire.

WireError
  MalformedEnvelope   these bytes are no envelope
  EnvelopeTooNew      a later version wrote it; this worker cannot read it
  NotEncodable        a value cannot travel; says where it lies, what it is, what to do
    ValueTooLarge     it is larger than the flow allows
  MalformedValue      these bytes are no value of this codec
    UnknownType       they name a type that this process does not know
"""

from __future__ import annotations

_LONGEST_PATH = 200


class WireError(ValueError):
    """Base of everything that encoding and decoding raise."""


class MalformedEnvelope(WireError):
    """The bytes are no envelope. They never will be: do not ask for them again."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed envelope: {reason}")
        self.reason = reason


class EnvelopeTooNew(WireError):
    """A later version of the format. A newer worker can read it: hand the entry back."""

    def __init__(self, version: int, supported: int) -> None:
        super().__init__(f"envelope of version {version}; this worker reads up to {supported}")
        self.version = version
        self.supported = supported


class NotEncodable(WireError):
    """A value cannot travel between processes."""

    def __init__(self, type_name: str, hint: str, path: str = "") -> None:
        shown = path
        if len(path) > _LONGEST_PATH:
            shown = f"{path[: _LONGEST_PATH // 2]}...{path[-_LONGEST_PATH // 4 :]}"
        place = f"{shown}: " if shown else ""
        super().__init__(f"{place}{type_name} cannot travel between processes; {hint}")
        self.type_name = type_name
        self.hint = hint
        self.path = path

    def within(self, step: str) -> NotEncodable:
        """The same error, seen from one container further out."""
        return type(self)(self.type_name, self.hint, step + self.path)


class ValueTooLarge(NotEncodable):
    """A packed value is larger than the flow allows."""


class MalformedValue(WireError):
    """The bytes are no value, or a type refuses what they hold."""


class UnknownType(MalformedValue):
    """The bytes name a type that is not known here. Nothing was imported to look for it."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"type {name!r} is not known in this process; {hint}")
        self.name = name
        self.hint = hint
