"""What the JetStream API speaks, as msgspec Structs in the server's own words.

Durations are whole nanoseconds, as on the wire. Fields that keep their default are not sent; a
field of the server that is not listed here is ignored when read.
"""

from typing import Literal

import msgspec

SECOND = 1_000_000_000
"""Nanoseconds in a second."""


class _Config(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """Base of what is sent."""


def _explicit() -> Literal["explicit"]:
    return "explicit"


class _Answer(msgspec.Struct, kw_only=True, frozen=True):
    """Base of what is received."""


class Placement(_Config, frozen=True):
    """Where in a cluster a stream should live."""

    cluster: str = ""
    tags: list[str] = []


class SubjectTransform(_Config, frozen=True):
    """Rewrites subjects on their way into a stream."""

    src: str
    dest: str


class StreamSource(_Config, frozen=True):
    """Another stream to copy from."""

    name: str
    opt_start_seq: int = 0
    filter_subject: str = ""
    subject_transforms: list[SubjectTransform] = []


class Republish(_Config, frozen=True):
    """Repeats stored messages as plain ones."""

    src: str
    dest: str
    headers_only: bool = False


class StreamConfig(_Config, frozen=True):
    """Configuration of a stream."""

    name: str
    subjects: list[str] = []
    description: str = ""
    retention: Literal["limits", "interest", "workqueue"] = "limits"
    storage: Literal["file", "memory"] = "file"
    discard: Literal["old", "new"] = "old"
    discard_new_per_subject: bool = False
    max_consumers: int = -1
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    max_bytes: int = -1
    max_age: int = 0
    """Nanoseconds until a message is removed; 0 means never."""
    max_msg_size: int = -1
    num_replicas: int = 1
    no_ack: bool = False
    duplicate_window: int = 0
    """Nanoseconds for which message ids are remembered; 0 means the server's default (120 s)."""
    compression: Literal["none", "s2"] = "none"
    allow_direct: bool = False
    mirror_direct: bool = False
    allow_rollup_hdrs: bool = False
    allow_msg_ttl: bool = False
    subject_delete_marker_ttl: int = 0
    allow_atomic: bool = False
    allow_batched: bool = False
    allow_msg_counter: bool = False
    allow_msg_schedules: bool = False
    persist_mode: Literal["", "default", "async"] = ""
    deny_delete: bool = False
    deny_purge: bool = False
    sealed: bool = False
    first_seq: int = 0
    placement: Placement | None = None
    mirror: StreamSource | None = None
    sources: list[StreamSource] = []
    subject_transform: SubjectTransform | None = None
    republish: Republish | None = None
    metadata: dict[str, str] = {}


class ConsumerConfig(_Config, frozen=True):
    """Configuration of a consumer."""

    durable_name: str = ""
    """Name of a consumer that outlives its users."""
    name: str = ""
    """Name of an ephemeral consumer; for a durable one `durable_name` is enough."""
    description: str = ""
    deliver_policy: Literal[
        "all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"
    ] = "all"
    opt_start_seq: int = 0
    opt_start_time: str | None = None
    """RFC 3339 time for `by_start_time`."""
    # By a factory, so that it is always sent: the server's own default is "none".
    ack_policy: Literal["explicit", "none", "all"] = msgspec.field(default_factory=_explicit)
    ack_wait: int = 0
    """Nanoseconds of silence after which a message is delivered again; 0 means 30 s."""
    max_deliver: int = -1
    backoff: list[int] = []
    """Nanoseconds, replaces `ack_wait` from delivery to delivery."""
    filter_subject: str = ""
    filter_subjects: list[str] = []
    replay_policy: Literal["instant", "original"] = "instant"
    max_ack_pending: int = 0
    """Unacked messages at which the server stops delivering; 0 means its default (1,000)."""
    max_waiting: int = 0
    """Open pull requests; 0 means the server's default (512)."""
    max_batch: int = 0
    max_expires: int = 0
    max_bytes: int = 0
    headers_only: bool = False
    inactive_threshold: int = 0
    """Nanoseconds without interest after which the server removes the consumer."""
    num_replicas: int = 0
    mem_storage: bool = False
    sample_freq: str = ""
    rate_limit_bps: int = 0
    deliver_subject: str = ""
    deliver_group: str = ""
    flow_control: bool = False
    idle_heartbeat: int = 0
    pause_until: str | None = None
    """RFC 3339 time until which nothing is delivered."""
    priority_groups: list[str] = []
    priority_policy: str = ""
    priority_timeout: int = 0
    metadata: dict[str, str] = {}


class LostData(_Answer, frozen=True):
    """What the server knows to have lost."""

    msgs: list[int] | None = None
    bytes: int = 0


class StreamState(_Answer, frozen=True):
    """What a stream holds."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    first_ts: str = ""
    last_seq: int = 0
    last_ts: str = ""
    consumer_count: int = 0
    num_deleted: int = 0
    num_subjects: int = 0
    subjects: dict[str, int] | None = None
    """Messages per subject, when a `subjects_filter` was given."""
    lost: LostData | None = None


class Peer(_Answer, frozen=True):
    """A replica of a stream or consumer."""

    name: str = ""
    current: bool = False
    offline: bool = False
    active: int = 0
    lag: int = 0


class ClusterInfo(_Answer, frozen=True):
    """Where the replicas are."""

    name: str = ""
    leader: str = ""
    replicas: list[Peer] = []


class StreamInfo(_Answer, frozen=True):
    """A stream as the server describes it."""

    config: StreamConfig
    state: StreamState
    created: str = ""
    cluster: ClusterInfo | None = None
    total: int = 0
    offset: int = 0
    limit: int = 0


class SequenceInfo(_Answer, frozen=True):
    """A position in a consumer and in its stream."""

    consumer_seq: int = 0
    stream_seq: int = 0
    last_active: str | None = None


class ConsumerInfo(_Answer, frozen=True):
    """A consumer as the server describes it."""

    stream_name: str
    name: str
    config: ConsumerConfig
    created: str = ""
    delivered: SequenceInfo = SequenceInfo()
    ack_floor: SequenceInfo = SequenceInfo()
    num_ack_pending: int = 0
    num_redelivered: int = 0
    num_waiting: int = 0
    num_pending: int = 0
    paused: bool = False
    pause_remaining: int = 0
    cluster: ClusterInfo | None = None


class AccountLimits(_Answer, frozen=True):
    """Limits of an account; -1 means none."""

    max_memory: int = -1
    max_storage: int = -1
    max_streams: int = -1
    max_consumers: int = -1
    max_ack_pending: int = -1


class AccountInfo(_Answer, frozen=True):
    """What an account uses of JetStream."""

    memory: int = 0
    storage: int = 0
    streams: int = 0
    consumers: int = 0
    domain: str = ""
    limits: AccountLimits = AccountLimits()


class PubAck(msgspec.Struct, frozen=True, gc=False):
    """The server's receipt for a stored message."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    """A message with this id was stored before; `seq` is that one's."""
    domain: str = ""
    batch: str = ""
    count: int = 0


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message read from a stream by subject or sequence."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str] | None
    timestamp: str
    """RFC 3339 time at which the server stored it."""
