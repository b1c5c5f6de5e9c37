"""Subjects and names on the server. Pure.

    pf.v1.<tenant>.<part>.<flow>.<kind>.<trace>.<node>.<input>   entries of the log
    pf.v1.<tenant>.<part>.<flow>.<marker>.<trace>                markers: `lost`, `cancel`, `end`
    pf.v1.<tenant>.dlq.<flow>.<node>.<trace>.<id>                dead letters
    pf.v1.<tenant>.chunk.<flow>.<trace>                          what is streamed of a trace
    pf.v1.<tenant>.ctl.<flow>.<topic>                            broadcasts, not stored

Every token is `[A-Za-z0-9_-]{1,64}` by full match; what does not fit is hashed before.
"""

from __future__ import annotations

from collections.abc import Iterable

from penguiflow.durable.log import Key, Kind, Pattern
from penguiflow.durable.tokens import is_token, token

PREFIX = "pf.v1"
NO_NODE = "_"
"""Stands where an entry has no node."""
_KINDS = {kind.value: kind for kind in Kind}
_VALUES = {kind: kind.value for kind in Kind}


class Names:
    """What a flow of a tenant is called on the server.

    `part` leaves room for several log streams per tenant; a trace lives in one of them.

    Attributes:
        root: First tokens of the tenant's subjects.
        log_root: First tokens of the flow's log subjects.
        log_stream, log_subjects: The tenant's log.
        dlq_stream, dlq_subjects: The tenant's dead letters.
        chunk_stream, chunk_subjects: What is streamed of the tenant's traces.
        objects_bucket: The object bucket of values that are too large for an entry.

    Raises:
        ValueError: flow or part is no token.
    """

    __slots__ = (
        "_after_root",
        "chunk_stream",
        "chunk_subjects",
        "dlq_stream",
        "dlq_subjects",
        "flow",
        "log_root",
        "log_stream",
        "log_subjects",
        "objects_bucket",
        "part",
        "root",
        "tenant",
        "tenant_token",
    )

    def __init__(self, tenant: str, flow: str, part: str = "0") -> None:
        for text in (flow, part):
            if not is_token(text):
                msg = f"{text!r} is no token: use letters, digits, '_' and '-', at most 64"
                raise ValueError(msg)
        self.tenant, self.flow, self.part = tenant, flow, part
        self.tenant_token = token(tenant)
        self.root = f"{PREFIX}.{self.tenant_token}"
        self.log_root = f"{self.root}.{part}.{flow}"
        self.log_stream = f"PF_{self.tenant_token}_{part}"
        self.log_subjects = f"{self.root}.{part}.>"
        self.dlq_stream = f"PF_{self.tenant_token}_DLQ"
        self.dlq_subjects = f"{self.root}.dlq.>"
        self.chunk_stream = f"PF_{self.tenant_token}_CHUNKS"
        self.chunk_subjects = f"{self.root}.chunk.>"
        self.objects_bucket = f"PF_{self.tenant_token}_LARGE"
        self._after_root = len(self.log_root) + 1

    def consumer(self, node_token: str) -> str:
        """The durable consumer of a node of this flow. No token holds a `=`."""
        return f"{self.flow}={node_token}"

    def subject(self, key: Key) -> str:
        """The subject of an entry."""
        if key.kind.is_marker:
            return f"{self.log_root}.{key.kind.value}.{key.trace}"
        node = key.node or NO_NODE
        return f"{self.log_root}.{_VALUES[key.kind]}.{key.trace}.{node}.{key.input}"

    def filters(self, patterns: Iterable[Pattern]) -> list[str]:
        """The subjects that match the patterns."""
        found: list[str] = []
        for pattern in patterns:
            kind = "*" if pattern.kind is None else pattern.kind.value
            trace = pattern.trace or "*"
            if pattern.kind is None or not pattern.kind.is_marker:
                node, input_ = pattern.node or "*", pattern.input or "*"
                found.append(f"{self.log_root}.{kind}.{trace}.{node}.{input_}")
            if pattern.kind is None or pattern.kind.is_marker:
                found.append(f"{self.log_root}.{kind}.{trace}")
        return found

    @property
    def entries(self) -> str:
        """Every entry of the flow but the markers."""
        return f"{self.log_root}.*.*.*.*"

    @property
    def round(self) -> str:
        """The marker of a keeper's round."""
        return f"{self.log_root}.keeper"

    def trace_filter(self, trace: str) -> str:
        """Everything of a trace but its end marker."""
        return f"{self.log_root}.*.{trace}.>"

    def key(self, subject: str) -> Key:
        """The key of a subject of this flow.

        Raises:
            ValueError: the subject is not one of the log's.
        """
        parts = subject[self._after_root :].split(".")
        if len(parts) == 4 and (kind := _KINDS.get(parts[0])) is not None:
            node = "" if parts[2] == NO_NODE else parts[2]
            return Key(kind, parts[1], node, parts[3])
        if len(parts) == 2 and (kind := _KINDS.get(parts[0])) is not None and kind.is_marker:
            return Key(kind, parts[1])
        msg = f"{subject!r} is no subject of the log {self.log_root!r}"
        raise ValueError(msg)

    def dead_letter(self, key: Key, node_token: str, identity: str) -> str:
        """The subject of a dead letter."""
        return f"{self.root}.dlq.{self.flow}.{node_token}.{key.trace}.{identity}"

    def chunks(self, trace: str) -> str:
        """The subject of what is streamed of a trace."""
        return f"{self.root}.chunk.{self.flow}.{trace}"

    def topic(self, topic: str) -> str:
        """The subject of a broadcast."""
        return f"{self.root}.ctl.{self.flow}.{topic}"
