"""Reads the outputs that lie in objects, for the audit of their trace."""

from __future__ import annotations

from collections.abc import Iterable

from penguiflow.durable.claims import Claims, ObjectMissing
from penguiflow.durable.envelope import Output, decode
from penguiflow.durable.log import Kind, Stored
from penguiflow.durable.wire_errors import WireError


async def read_parts(claims: Claims, stored: Iterable[Stored]) -> dict[str, tuple[Output, ...]]:
    """The outputs of the parts that a trace's records name, by the object that they lie in.

    All of one trace are held at once. An object that is gone or damaged is left out.

    Raises:
        LogError: no answer.
    """
    found: dict[str, tuple[Output, ...]] = {}
    for entry in stored:
        if entry.key.kind is not Kind.RECORD:
            continue
        try:
            parts = decode(entry.data).parts
        except WireError:
            continue  # the audit names it
        for part in parts:
            try:
                found[part.name] = await claims.part(part)
            except ObjectMissing:
                continue
    return found


__all__ = ["read_parts"]
