"""The msgpack extension types of the value codec. A code is never given a second meaning."""

from __future__ import annotations

from typing import Final

# Containers: an array of the items, each packed by the codec.
TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
PAIRS: Final = 4
"""A dict with a key that msgpack has no form for: key, value, key, value..."""

# Scalars.
BIGINT: Final = 5
"""An int beyond 64 bits: two's complement, big endian."""
TEXT: Final = 6
"""A str with lone surrogates: UTF-8 with the surrogates passed through."""
DATETIME: Final = 7
"""[ISO 8601 text without offset, fold, zone]: the zone is its name, an offset in microseconds, or
None."""
DATE: Final = 8
"""ISO 8601 text."""
TIME: Final = 9
"""As `DATETIME`."""
TIMEDELTA: Final = 10
"""[days, seconds, microseconds]"""
UUID: Final = 11
"""16 bytes."""
DECIMAL: Final = 12
"""Its text."""

# Values of a named type: an array that starts with the name, "module:qualname".
ENUM: Final = 13
"""[name, name of the member], or [name, number] of a flag."""
MODEL: Final = 14
"""[name, fields], or [name, fields, names of the fields that were left unset]."""
DATACLASS: Final = 15
"""[name, fields]"""
STRUCT: Final = 16
"""[name, fields]"""

ERROR: Final = 17
"""A `FlowError`: [code, message, trace_id, node_name, node_id, exception_type,
[key, value, key, value...]]"""

CLAIM: Final = 18
"""In place of a value: [name of the object that holds it, its size in bytes]. The codec knows
nothing of objects; `penguiflow.durable.claims` puts the value back first."""

NAMED: Final = (ENUM, MODEL, DATACLASS, STRUCT)
