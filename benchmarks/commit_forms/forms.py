"""The forms of committing one node result, as data: a stream and the headers of one write.

Subjects name the producer only: `rec.<trace>.<node>.<input>`, and `end.<trace>` for the marker of a
finished trace. Never the destination, never the attempt: both may differ in a second run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StreamConfig,
)

from .client import Answer, Client, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg

LOG = "LOG"
EDGE = "EDGE"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
MSG_ID = "Nats-Msg-Id"


class Verdict(Enum):
    """What one write came to."""

    COMMITTED = "committed"
    TAKEN = "somebody committed this key before"
    GONE = "the input is not in the log any more"
    FULL = "the stream takes nothing at the moment"
    AGAIN = "ask again"


@dataclass(frozen=True)
class Input:
    """The stored message a node result was computed from."""

    subject: str
    seq: int


def input_of(msg: Msg) -> Input:
    """The stream sequence stands in the reply: $JS.ACK.<stream>.<consumer>.<n>.<seq>..., or the
    same behind two more tokens (domain, account) on servers that are told so."""
    tokens = msg.reply.split(".")
    return Input(msg.subject, int(tokens[5] if len(tokens) == 9 else tokens[7]))


@dataclass(frozen=True)
class Form:
    name: str
    title: str
    own_empty: bool = False
    """Expected sequence 0 on the own subject."""
    one_per_subject: bool = False
    """The stream holds one message per subject and refuses the second."""
    input_exists: bool = False
    """Expected sequence of the input on the input's subject."""
    by_id: bool = False
    """A message id, remembered as long as the duplicate window."""
    edges: bool = False
    """Outputs go to streams of their own after the record."""
    extra: dict[str, Any] = field(default_factory=dict)

    def headers(self, subject: str, source: Input | None) -> dict[str, str] | None:
        headers: dict[str, str] = {}
        if self.own_empty:
            headers[EXPECTED] = "0"
        if self.input_exists:
            # A result expects its input. An ingress expects that the trace has not ended.
            expected = source or Input(end_subject(subject.split(".")[1]), 0)
            headers[EXPECTED] = str(expected.seq)
            headers[EXPECTED_SUBJECT] = expected.subject
        if self.by_id:
            headers[MSG_ID] = subject
        return headers or None

    async def write(
        self, client: Client, subject: str, data: bytes, source: Input | None
    ) -> tuple[Verdict, Answer]:
        answer = await client.write(subject, data, self.headers(subject, source))
        return self.judge(answer), answer

    def judge(self, answer: Answer) -> Verdict:
        error = answer.error
        if error is None:
            return Verdict.TAKEN if answer.duplicate else Verdict.COMMITTED
        if error.err_code == 10071:  # wrong last sequence
            return Verdict.GONE if self.input_exists else Verdict.TAKEN
        if error.err_code == 10077:  # one code, two meanings: only the text tells them apart
            return Verdict.TAKEN if "per subject" in error.description else Verdict.FULL
        if error.err_code in (10158, 10164):  # a replica group is deciding on the same write
            return Verdict.AGAIN
        raise OutcomeUnknownError(str(error))

    def log(self, window: float = 120.0, **more: Any) -> StreamConfig:
        config: dict[str, Any] = {"name": LOG, "duplicate_window": window}
        if self.one_per_subject:
            config |= {
                "max_msgs_per_subject": 1,
                "discard": DiscardPolicy.NEW,
                "discard_new_per_subject": True,
            }
        config |= self.extra | more
        return StreamConfig(subjects=["rec.>", "end.>"], **config)

    async def create(
        self, client: Client, window: float = 120.0, edge_window: float = 120.0, **more: Any
    ) -> None:
        js = client.nc.jetstream()
        await js.add_stream(self.log(window, **more))
        if self.edges:
            await js.add_stream(
                StreamConfig(
                    name=EDGE,
                    subjects=["edge.>"],
                    retention=RetentionPolicy.WORK_QUEUE,
                    duplicate_window=edge_window,
                )
            )


def record_subject(trace: str, node: str, source: str) -> str:
    return f"rec.{trace}.{node}.{source}"


def end_subject(trace: str) -> str:
    return f"end.{trace}"


async def add_consumer(
    client: Client,
    stream: str,
    durable: str,
    filters: Sequence[str],
    ack_wait: float = 30.0,
) -> None:
    many = len(filters) > 1
    config = ConsumerConfig(
        durable_name=durable,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait,
        max_ack_pending=100_000,
        filter_subject=None if many else filters[0],
        filter_subjects=list(filters) if many else None,
    )
    await client.nc.jetstream().add_consumer(stream, config)


F1 = Form("F1", "record, then edge", own_empty=True, edges=True)
F2 = Form("F2", "log is the edge, own subject at 0", own_empty=True)
F3 = Form("F3", "log is the edge, one per subject", one_per_subject=True)
F3X = Form("F3x", "F3, and the input exists", one_per_subject=True, input_exists=True)
F4 = Form("F4", "log is the edge, message id", by_id=True)
X = Form("X", "the input exists, nothing else", input_exists=True)
NONE = Form("none", "log without any fence")

FORMS = {form.name: form for form in (F1, F2, F3, F3X, F4, X, NONE)}
