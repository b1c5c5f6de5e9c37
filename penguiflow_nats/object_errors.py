"""What can be wrong with an object."""

from __future__ import annotations

from penguiflow_nats.errors import ApiError, NatsError


class BucketFull(ApiError):
    """There is no room for an object. Nothing of it is kept.

    Attributes:
        bucket: Name of the bucket.
    """

    def __init__(self, bucket: str, refusal: ApiError) -> None:
        super().__init__(
            refusal.code,
            refusal.err_code,
            f"no room in object bucket {bucket!r}: {refusal.description}; delete what nobody "
            f"needs, or raise max_bytes of stream OBJ_{bucket}",
        )
        self.bucket = bucket


class ObjectCorrupt(NatsError):
    """The chunks of an object are not what was uploaded, or some are missing.

    Attributes:
        name: Name of the object.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"object {name!r} is corrupt: {reason}")
        self.name = name


class ObjectTooLarge(NatsError, ValueError):
    """An upload is larger than was allowed. Nothing of it is kept.

    Attributes:
        limit: Bytes that were allowed.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"the upload is larger than {limit} bytes")
        self.limit = limit


__all__ = ["BucketFull", "ObjectCorrupt", "ObjectTooLarge"]
