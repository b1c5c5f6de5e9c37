"""One worker process of the chaos flow. It is killed and paused from outside.

The flow: in -> a -> b0, b1, b2 -> join -> end. Every node result is random, so a second run of a
node can be told from the first. What the worker sees and what its writes came to goes into a file
that outlives it: one line is one append.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import uuid
from typing import TYPE_CHECKING

import msgspec
import uvloop
from nats.errors import Error as NatsError

from .client import ACK, Client, OutcomeUnknownError, Puller
from .forms import (
    EDGE,
    FORMS,
    LOG,
    MSG_ID,
    Form,
    Input,
    Verdict,
    end_subject,
    input_of,
    record_subject,
)

if TYPE_CHECKING:
    from nats.aio.msg import Msg

BRANCHES = ("b0", "b1", "b2")
PARENTS = {"a": ("in",), **dict.fromkeys(BRANCHES, ("a",)), "join": BRANCHES, "end": ("join",)}
SUCCESSORS = {"a": BRANCHES, **dict.fromkeys(BRANCHES, ("join",)), "join": ("end",), "end": ()}


class Record(msgspec.Struct):
    subject: str
    id: str
    of: list[str]
    """The ids of the records it was computed from."""

    @property
    def trace(self) -> str:
        return self.subject.split(".")[1]


decode = msgspec.json.Decoder(Record).decode


def subject_of(trace: str, node: str) -> str:
    if node == "end":
        return end_subject(trace)
    return record_subject(trace, node, {"a": "in", "join": "all"}.get(node, "a"))


class Worker:
    def __init__(self, client: Client, form: Form, purge: bool, log: str) -> None:
        self.client, self.form, self.purge = client, form, purge
        self.file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.purging = asyncio.Lock()

    def note(self, event: str, record: Record) -> None:
        line = f"{event} {record.subject} {record.id} {','.join(record.of) or '-'}\n"
        os.write(self.file, line.encode())

    async def start(self) -> None:
        for node in PARENTS:

            async def handle(msg: Msg, node: str = node) -> None:
                await self.attempt(node, msg)

            stream = EDGE if self.form.edges else LOG
            await Puller(self.client, stream, node, handle, window=16).start()

    async def attempt(self, node: str, msg: Msg) -> None:
        record = decode(msg.data)
        try:
            await self.process(node, msg, record)
        except (OutcomeUnknownError, NatsError):
            self.note("left", record)  # not acked, so it is delivered again
        except BaseException:
            self.note("crash", record)
            raise

    async def process(self, node: str, msg: Msg, record: Record) -> None:
        self.note("saw", record)
        parents: list[str] | None = [record.id]
        if node == "join":
            parents = await self.branches(record.trace)
            if parents is None:
                await self.ack(msg)  # a sibling comes later and finds all of them
                return
        await asyncio.sleep(random.uniform(0.01, 0.15))  # the work
        mine = Record(subject_of(record.trace, node), uuid.uuid4().hex, parents)
        verdict = await self.commit(mine, input_of(msg))
        self.note(verdict.name.lower(), mine)
        if self.form.edges:
            await self.outputs(node, mine, verdict)
        if node == "end" and self.purge and verdict is not Verdict.GONE:
            await self.remove(record.trace)
        await self.ack(msg)

    async def commit(self, record: Record, source: Input) -> Verdict:
        """The same write until there is an answer. An own write with a lost ack says "taken"."""
        data = msgspec.json.encode(record)
        for _ in range(5):
            try:
                verdict, _ = await self.form.write(self.client, record.subject, data, source)
            except OutcomeUnknownError:
                await asyncio.sleep(0.1)
                continue
            if verdict in (Verdict.COMMITTED, Verdict.TAKEN, Verdict.GONE):
                return verdict
            await asyncio.sleep(0.1)
        raise OutcomeUnknownError(record.subject)

    async def outputs(self, node: str, mine: Record, verdict: Verdict) -> None:
        """Form F1: the outputs come from the winner's record, whoever that is."""
        if verdict is Verdict.TAKEN:
            stored = await self.client.last(LOG, mine.subject)
            if stored is None:
                raise OutcomeUnknownError(mine.subject)
            mine = decode(stored)
        data = msgspec.json.encode(mine)
        for successor in SUCCESSORS[node]:
            headers = {MSG_ID: f"{mine.subject}.{successor}"}
            answer = await self.client.write(f"edge.{successor}.{mine.trace}.{node}", data, headers)
            if answer.error is not None:
                raise OutcomeUnknownError(str(answer.error))

    async def branches(self, trace: str) -> list[str] | None:
        stored = await asyncio.gather(
            *[self.client.last(LOG, subject_of(trace, branch)) for branch in BRANCHES]
        )
        return None if None in stored else [decode(data).id for data in stored if data]

    async def remove(self, trace: str) -> None:
        async with self.purging:  # many purges at once slow every publish down
            await self.client.api(f"STREAM.PURGE.{LOG}", {"filter": f"rec.{trace}.>"})

    async def ack(self, msg: Msg) -> None:
        await (await self.client.send(msg.reply, ACK))


async def run(options: argparse.Namespace) -> None:
    client = await Client(timeout=1.0).connect(options.url)
    await Worker(client, FORMS[options.form], options.purge, options.log).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--form", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--purge", action="store_true")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
