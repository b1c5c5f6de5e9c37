"""Subjects of a task board, and the entries of its index. Pure.

pf.v1.<tenant>.board.<agent>.index.<owner>.<context>.<task>   where a task stands; the newest only
pf.v1.<tenant>.board.<agent>.note.<task>.<name>               a note of a task; the newest only
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Struct

from penguiflow.durable.tokens import token
from penguiflow.durable.wire_errors import MalformedEnvelope
from penguiflow_nats.stream_types import StreamConfig
from penguiflow_nats.streams import DAY, stream
from penguiflow_nats.subjects import PREFIX


@dataclass(frozen=True, slots=True)
class BoardNames:
    """What the board of an agent is called on the server."""

    tenant: str
    agent: str

    @property
    def stream(self) -> str:
        """The stream of the tenant's boards."""
        return f"PF_{token(self.tenant)}_BOARD"

    @property
    def every(self) -> str:
        """The subjects of all boards of the tenant."""
        return f"{PREFIX}.{token(self.tenant)}.board.>"

    @property
    def _root(self) -> str:
        return f"{PREFIX}.{token(self.tenant)}.board.{self.agent}"

    def index(self, owner: str = "*", context: str = "*", task: str = "*") -> str:
        """The entry of a task. Tokens; `*` for any."""
        return f"{self._root}.index.{owner}.{context}.{task}"

    def note(self, task: str, name: str) -> str:
        """A note of a task; `*` for all of them."""
        return f"{self._root}.note.{task}.{name}"


class IndexEntry(Struct, array_like=True, frozen=True, gc=False):
    """Where a task stood when the entry was written. Its records are the truth; an entry is what
    finds them, and the order of entries is that in which tasks changed."""

    v: int
    task: str
    state: str
    due: float = 0.0
    """When it has to be over, or answered, seconds since the epoch by the server's clock; 0 for
    never."""


def board_config(
    names: BoardNames, *, replicas: int, max_bytes: int, age: int = DAY
) -> StreamConfig:
    """The stream of the boards of a tenant."""
    text = "PenguiFlow task boards of one tenant: index and notes"
    base = stream(names.stream, names.every, text, max_bytes, age, replicas)
    return msgspec.structs.replace(base, max_msgs_per_subject=1, allow_msg_ttl=True)


VERSION = 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(IndexEntry).decode


def write_entry(task: str, state: str, due: float) -> bytes:
    """The bytes of an entry."""
    return _encode(IndexEntry(VERSION, task, state, due))


def read_entry(data: bytes) -> IndexEntry:
    """The entry behind the bytes. Raises MalformedEnvelope."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedEnvelope(str(error)) from error
