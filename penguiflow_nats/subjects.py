"""Subjects and names on the server. Pure.

    pf.v1.<tenant>.<part>.<flow>.<kind>.<trace>.<node>.<input>   entries of the log
    pf.v1.<tenant>.<part>.<flow>.end.<trace>                     the marker that ends a trace
    pf.v1.<tenant>.dlq.<flow>.<node>.<trace>.<id>                dead letters
    pf.v1.<tenant>.ctl.<flow>.<topic>                            broadcasts, not stored

Every token is `[A-Za-z0-9_-]{1,64}` by full match; what does not fit is hashed before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penguiflow.durable.log import Key, Kind, Pattern
from penguiflow.durable.tokens import is_token, token

PREFIX = "pf.v1"
NO_NODE = "_"
"""Stands where an entry has no node."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a flow of a tenant is called on the server.

    `part` leaves room for several log streams per tenant; a trace lives in one of them.
    """

    tenant: str
    flow: str
    part: str = "0"

    def __post_init__(self) -> None:
        for text in (self.flow, self.part):
            if not is_token(text):
                msg = f"{text!r} is no token: use letters, digits, '_' and '-', at most 64"
                raise ValueError(msg)

    @property
    def tenant_token(self) -> str:
        return token(self.tenant)

    @property
    def root(self) -> str:
        """The tenant's subjects."""
        return f"{PREFIX}.{self.tenant_token}"

    @property
    def log_root(self) -> str:
        """The log subjects of the flow."""
        return f"{self.root}.{self.part}.{self.flow}"

    @property
    def log_stream(self) -> str:
        return f"PF_{self.tenant_token}_{self.part}"

    @property
    def log_subjects(self) -> str:
        return f"{self.root}.{self.part}.>"

    @property
    def dlq_stream(self) -> str:
        return f"PF_{self.tenant_token}_DLQ"

    @property
    def dlq_subjects(self) -> str:
        return f"{self.root}.dlq.>"

    def consumer(self, node_token: str) -> str:
        """The durable consumer of a node: consumers of one stream are told apart by flow too."""
        return f"{self.flow}_{node_token}"

    def subject(self, key: Key) -> str:
        """The subject of an entry."""
        if key.kind is Kind.END:
            return f"{self.log_root}.end.{key.trace}"
        node = key.node or NO_NODE
        return f"{self.log_root}.{key.kind.value}.{key.trace}.{node}.{key.input}"

    def filters(self, patterns: Iterable[Pattern]) -> list[str]:
        """The subjects that match the patterns."""
        found: list[str] = []
        for pattern in patterns:
            kind = "*" if pattern.kind is None else pattern.kind.value
            trace = pattern.trace or "*"
            if pattern.kind is not Kind.END:
                node, input_ = pattern.node or "*", pattern.input or "*"
                found.append(f"{self.log_root}.{kind}.{trace}.{node}.{input_}")
            if pattern.kind in (None, Kind.END):
                found.append(f"{self.log_root}.end.{trace}")
        return found

    def trace_filter(self, trace: str) -> str:
        """Everything of a trace but its end marker."""
        return f"{self.log_root}.*.{trace}.>"

    def key(self, subject: str) -> Key:
        """The key of a subject of this flow.

        Raises:
            ValueError: the subject is not one of the log's.
        """
        parts = subject[len(self.log_root) + 1 :].split(".")
        if len(parts) == 4:
            node = "" if parts[2] == NO_NODE else parts[2]
            return Key(Kind(parts[0]), parts[1], node, parts[3])
        if len(parts) == 2 and parts[0] == "end":
            return Key(Kind.END, parts[1])
        msg = f"{subject!r} is no subject of the log {self.log_root!r}"
        raise ValueError(msg)

    def dead_letter(self, key: Key, node_token: str, identity: str) -> str:
        """The subject of a dead letter."""
        return f"{self.root}.dlq.{self.flow}.{node_token}.{key.trace}.{identity}"

    def topic(self, topic: str) -> str:
        """The subject of a broadcast."""
        return f"{self.root}.ctl.{self.flow}.{topic}"
