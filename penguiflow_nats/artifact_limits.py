"""The limits of sessions and traces, over the artifacts that are in the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from penguiflow.artifacts.models import ArtifactRef, ArtifactRetentionConfig
from penguiflow_nats import artifact_keys as keys
from penguiflow_nats.kv import KeyValue


class Place(msgspec.Struct, frozen=True):
    """What a session's list says about one artifact."""

    id: str
    size: int
    order: int
    """Where it stood first in the bucket; zero is where the entry stands now."""


encode_place = msgspec.json.Encoder().encode
decode_place = msgspec.json.Decoder(Place).decode


class _Limit(NamedTuple):
    name: str
    filter: str
    max_bytes: int
    max_count: int


def limits_of(ref: ArtifactRef, retention: ArtifactRetentionConfig) -> list[_Limit]:
    """The limits that an artifact falls under."""
    limits = [
        _Limit(
            "session",
            keys.of_session(ref.scope),
            retention.max_session_bytes,
            retention.max_artifacts_per_session,
        )
    ]
    if ref.scope is not None and ref.scope.trace_id is not None:
        by_trace = retention.max_trace_bytes, retention.max_artifacts_per_trace
        limits.append(_Limit("trace", keys.of_trace(ref.scope), *by_trace))
    return limits


def check_size(size: int, limits: Sequence[_Limit], retention: ArtifactRetentionConfig) -> None:
    """Refuse what no removal could make room for.

    Raises:
        ValueError: It is larger than an artifact, or all that a session or trace holds, may be.
    """
    if size > retention.max_artifact_bytes:
        most = retention.max_artifact_bytes
        msg = f"Artifact size ({size} bytes) exceeds limit ({most} bytes)"
        raise ValueError(msg)
    for limit in limits:
        if size > limit.max_bytes or limit.max_count < 1:
            msg = f"artifact of {size} bytes exceeds what one {limit.name} may hold"
            raise ValueError(msg)


async def in_the_way(
    kv: KeyValue, artifact_id: str, limits: Sequence[_Limit], retention: ArtifactRetentionConfig
) -> list[str]:
    """The artifacts that have to go so that this one, which is in its lists already, may stay.

    Raises:
        ValueError: Nothing may go, and there is no room.
    """
    going: dict[str, None] = {}
    for limit in limits:
        listed = await kv.read([limit.filter])
        places = [(decode_place(entry.value), entry.revision) for entry in listed]
        left = {place.id: place.size for place, _ in places if place.id not in going}
        if _fits(left, limit):
            continue
        if retention.cleanup_strategy == "none":
            size = left.get(artifact_id, 0)
            msg = f"artifact of {size} bytes does not fit: the {limit.name} is full"
            raise ValueError(msg)
        turn = {place.id: place.order or revision for place, revision in places}
        if retention.cleanup_strategy == "lru":
            for entry in await kv.read([keys.used(place.id) for place, _ in places]):
                turn[entry.value.decode()] = entry.revision
        for each in sorted(left, key=lambda name: turn[name]):
            if _fits(left, limit):
                break
            if each != artifact_id:
                del left[each]
                going[each] = None
    return list(going)


def _fits(sizes: dict[str, int], limit: _Limit) -> bool:
    return sum(sizes.values()) <= limit.max_bytes and len(sizes) <= limit.max_count


__all__ = ["Place", "check_size", "decode_place", "encode_place", "in_the_way", "limits_of"]
