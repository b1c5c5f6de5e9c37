"""Error codes of JetStream answers (`err_code`), as `nats-server` defines them.

One code may stand for two meanings: `MAXIMUM_REACHED` is both "this subject already holds its
message" and "the stream is full". Only the text tells them apart, so compare with the two texts
below before you call a refused write done.
"""

from typing import Final

INSUFFICIENT_RESOURCES: Final = 10023
"""The server ran out of storage, for example a full disk."""

CONSUMER_NAME_IN_USE: Final = 10013
"""A durable consumer of this name exists with another configuration."""

CONSUMER_NOT_FOUND: Final = 10014
"""The stream has no consumer of this name."""

MESSAGE_NOT_FOUND: Final = 10037
"""The stream holds no message that matches."""

ACCOUNT_NOT_ENABLED: Final = 10039
"""JetStream is not enabled for this account."""

STREAM_NAME_IN_USE: Final = 10058
"""A stream of this name exists with another configuration."""

STREAM_NOT_FOUND: Final = 10059
"""The account has no stream of this name."""

SUBJECT_OVERLAP: Final = 10065
"""Another stream of the account already takes one of these subjects."""

WRONG_LAST_SEQUENCE: Final = 10071
"""`Nats-Expected-Last-Subject-Sequence` refused the write: somebody was there first."""

UNAVAILABLE: Final = 10008
"""JetStream is temporarily not available, for example during an election."""

MAXIMUM_REACHED: Final = 10077
"""A limit refused the write. Which limit: see `SUBJECT_TAKEN_TEXT` and `STREAM_FULL_TEXTS`."""

SUBJECT_TAKEN_TEXT: Final = "maximum messages per subject exceeded"
"""Text of `MAXIMUM_REACHED` when the subject already holds its message."""

STREAM_FULL_TEXTS: Final = ("maximum messages exceeded", "maximum bytes exceeded")
"""Texts of `MAXIMUM_REACHED` when the whole stream is full."""

CONSUMER_FILTER_OVERLAP: Final = 10100
"""Consumers of a work-queue stream must not share subjects."""

CONSUMER_EXISTS: Final = 10148
"""Create (and only create) was asked for, but the consumer exists."""

CONSUMER_DOES_NOT_EXIST: Final = 10149
"""Update (and only update) was asked for, but there is no such consumer."""

WRONG_LAST_SEQUENCE_UNKNOWN: Final = 10164
"""The replica cannot decide the fence yet: ask again with the same identity."""

INVALID_TTL: Final = 10165
"""`Nats-TTL` could not be read."""

BATCH_INCOMPLETE: Final = 10176
"""An atomic batch was abandoned or a part of it is missing."""

BATCH_DUPLICATE_ID: Final = 10201
"""An atomic batch contains a message id that the stream already knows."""

TOO_MANY_BATCHES: Final = 10210
"""More atomic batches are open than the server allows."""
