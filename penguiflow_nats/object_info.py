"""What an object bucket is on the server, and what it says about an object. Pure.

    stream OBJ_<bucket>
    $O.<bucket>.C.<nuid>               the chunks of one upload, in order
    $O.<bucket>.M.<name as base64url>  what the object is: JSON, the newest one counts

The official format, so that `nats object` reads it.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.stream_types import SECOND, StreamConfig

CHUNK_BYTES = 128 * 1024
"""Size of a chunk, as the official clients choose it."""
DIGEST = "SHA-256="


class _Options(msgspec.Struct, omit_defaults=True):
    max_chunk_size: int = 0


class ObjectInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An object as its bucket describes it."""

    name: str
    description: str = ""
    headers: dict[str, list[str]] | None = None
    metadata: dict[str, str] | None = None
    options: _Options | None = None
    bucket: str
    nuid: str
    """Names the upload: a new one for each."""
    size: int
    """Bytes."""
    mtime: str = "0001-01-01T00:00:00Z"
    """RFC 3339; the time that counts is that of the message."""
    chunks: int
    digest: str = ""
    deleted: bool = False


encode_info = msgspec.json.Encoder().encode
decode_info = msgspec.json.Decoder(ObjectInfo).decode


def object_info(bucket: str, name: str, nuid: str, **details: Any) -> ObjectInfo:
    """The description of an upload."""
    options = _Options(max_chunk_size=CHUNK_BYTES)
    return ObjectInfo(bucket=bucket, name=name, nuid=nuid, options=options, **details)


def object_config(bucket: str, limits: BucketLimits, description: str = "") -> StreamConfig:
    """The stream of an object bucket, as the official clients would make it."""
    return StreamConfig(
        name=f"OBJ_{bucket}",
        subjects=[f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
        description=description,
        discard="new",
        max_bytes=-1 if limits.max_bytes is None else limits.max_bytes,
        max_age=round(limits.max_age.total_seconds() * SECOND) if limits.max_age else 0,
        num_replicas=limits.replicas,
        allow_rollup_hdrs=True,
        allow_direct=True,
        allow_msg_ttl=True,
    )


def chunk_subject(bucket: str, nuid: str) -> str:
    """Where the chunks of an upload are."""
    return f"$O.{bucket}.C.{nuid}"


def info_subject(bucket: str, name: str) -> str:
    """Where an object is described."""
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def name_of(subject: str) -> str:
    """The name of the object that is described there."""
    return base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode("utf-8", "replace")


def digest_text(sha256: bytes) -> str:
    """A hash as the official clients write it."""
    return DIGEST + base64.urlsafe_b64encode(sha256).decode()


__all__ = [
    "CHUNK_BYTES",
    "ObjectInfo",
    "chunk_subject",
    "decode_info",
    "digest_text",
    "encode_info",
    "info_subject",
    "name_of",
    "object_config",
    "object_info",
]
