"""A second, different write of the same key: refused, or committed twice? And with which words?"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import APIError

from . import forms
from .client import ACK, Answer, Client
from .forms import (
    EXPECTED,
    EXPECTED_SUBJECT,
    LOG,
    MSG_ID,
    Form,
    Input,
    Verdict,
    add_consumer,
    end_subject,
    record_subject,
)
from .server import Server, running_server
from .tables import table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TRACE = "0" * 31 + "a"
ROOT = record_subject(TRACE, "in", "0")
RECORD = record_subject(TRACE, "a", "in")


class Case:
    """One server, one form, one trace with an input and one committed record."""

    def __init__(self, server: Server, form: Form) -> None:
        self.server, self.form = server, form

    async def begin(self, **options: Any) -> None:
        self.client = await Client().connect(self.server.url)
        await self.form.create(self.client, **options)
        _, answer = await self.form.write(self.client, ROOT, b"in", None)
        self.input = Input(ROOT, answer.seq)
        verdict, answer = await self.commit(b"one")
        assert verdict is Verdict.COMMITTED, answer

    async def commit(self, data: bytes) -> tuple[Verdict, Answer]:
        return await self.form.write(self.client, RECORD, data, self.input)

    async def restart(self) -> None:
        await self.client.close()
        self.server.kill()
        self.server.start()
        self.client = await Client().connect(self.server.url)

    async def finish(self) -> None:
        last = Input(RECORD, self.input.seq + 1)
        await self.form.write(self.client, end_subject(TRACE), b"end", last)
        await self.client.api(f"STREAM.PURGE.{LOG}", {"filter": f"rec.{TRACE}.>"})


def said(verdict: Verdict, answer: Answer) -> str:
    if verdict is Verdict.COMMITTED:
        return "**committed twice**"
    return f"refused: {code(answer)}"


def code(answer: Answer) -> str:
    return "duplicate" if answer.error is None else str(answer.error.err_code)


async def at_once(case: Case) -> str:
    await case.begin()
    return said(*await case.commit(b"two"))


async def racing(case: Case) -> str:
    await case.begin()
    key = record_subject(TRACE, "b", "in")
    writes = [case.form.write(case.client, key, str(i).encode(), case.input) for i in range(64)]
    verdicts = Counter(verdict for verdict, _ in await asyncio.gather(*writes))
    won = verdicts[Verdict.COMMITTED]
    return f"1 of 64 wins{'' if won == 1 else f', no: **{won}**'}"


async def after_window(case: Case) -> str:
    await case.begin(window=1.0)
    await asyncio.sleep(1.6)
    return said(*await case.commit(b"two"))


async def after_restart(case: Case) -> str:
    await case.begin()
    await case.restart()
    return said(*await case.commit(b"two"))


async def after_purge(case: Case) -> str:
    await case.begin()
    await case.finish()
    return said(*await case.commit(b"two"))


async def after_purge_and_restart(case: Case) -> str:
    await case.begin()
    await case.finish()
    await case.restart()
    return said(*await case.commit(b"two"))


async def late_ingress(case: Case) -> str:
    await case.begin(window=1.0)
    await case.finish()
    await asyncio.sleep(1.6)
    return said(*await case.form.write(case.client, ROOT, b"in again", None))


async def after_purge_with_new_input(case: Case) -> str:
    """The marker is gone too, the ingress starts the trace again, then the zombie writes."""
    await case.begin(window=1.0)
    await case.client.api(f"STREAM.PURGE.{LOG}", {"filter": f"rec.{TRACE}.>"})
    await asyncio.sleep(1.6)
    verdict, answer = await case.form.write(case.client, ROOT, b"in again", None)
    assert verdict is Verdict.COMMITTED, answer
    return said(*await case.commit(b"two"))


async def after_max_age(case: Case) -> str:
    await case.begin(window=1.0, max_age=1.0)
    await asyncio.sleep(2.2)
    return said(*await case.commit(b"two"))


async def record_deleted_alone(case: Case) -> str:
    await case.begin(window=1.0)
    await case.client.api(f"STREAM.PURGE.{LOG}", {"filter": RECORD})
    await asyncio.sleep(1.6)
    return said(*await case.commit(b"two"))


SITUATIONS: list[tuple[str, Callable[[Case], Awaitable[str]]]] = [
    ("at once", at_once),
    ("64 writers at the same time", racing),
    ("after the duplicate window (1 s)", after_window),
    ("after kill -9 and restart", after_restart),
    ("the trace has ended and is purged", after_purge),
    ("the same, then kill -9 and restart", after_purge_and_restart),
    ("the same, the *ingress* writes again", late_ingress),
    ("purged without marker, ingress starts it again", after_purge_with_new_input),
    ("`max_age` removed the trace", after_max_age),
    ("only the record removed, the input kept", record_deleted_alone),
]


async def run() -> None:
    columns = (forms.F2, forms.F3, forms.X, forms.F3X, forms.F4)
    rows = []
    for title, situation in SITUATIONS:
        row = [title]
        for form in columns:
            with running_server() as server:
                case = Case(server, form)
                row.append(await situation(case))
                await case.client.close()
        rows.append(row)
    print("\n### A second, different write of the same key (the record of F1 behaves as F2)\n")
    print(table(["second write", *[form.name for form in columns]], rows))
    print("\n### What the server says\n")
    print(table(["write", "status, err_code, text", "nats-py raises"], await answers()))
    found = await recreated()
    print(f"\nA stream deleted and at once created again held old messages {found} times of 300.")


def words(answer: Answer) -> str:
    error = answer.error
    if error is None:
        return "ok, `duplicate: true`" if answer.duplicate else "ok"
    return f"{error.code}, {error.err_code or '-'}, `{error.description}`"


class Probe:
    """Collects the server's own words for one write after the other, over a stream as in F3x."""

    def __init__(self, client: Client) -> None:
        self.client, self.rows, self.count = client, [], 0
        self.js = client.nc.jetstream()

    @property
    def name(self) -> str:
        return f"LOG{self.count}"

    async def fresh(self, form: Form = forms.F3X, **more: Any) -> Input:
        """A new stream under a new name; see `recreated` for why the name is new."""
        await self.gone()
        await form.create(self.client, name=self.name, **more)
        answer = await self.client.write(ROOT, b"in", None)
        assert answer.error is None, answer
        return Input(ROOT, answer.seq)

    async def gone(self) -> None:
        await self.client.api(f"STREAM.DELETE.{self.name}")
        self.count += 1

    async def purge(self, subject: str) -> None:
        await self.client.api(f"STREAM.PURGE.{self.name}", {"filter": subject})

    async def say(
        self, title: str, subject: str, headers: dict[str, str], data: bytes = b"x"
    ) -> None:
        answer = await self.client.write(subject, data, headers)
        raised = "-"
        if answer.error is not None:  # a refused write changes nothing, so ask once more
            try:
                await self.js.publish(subject, data, headers=dict(headers))
            except (APIError, Exception) as error:  # noqa: BLE001 - the name of the class is asked for
                raised = f"`{type(error).__name__}`"
        self.rows.append([title, words(answer), raised])


def expects(source: Input, **more: str) -> dict[str, str]:
    return {EXPECTED: str(source.seq), EXPECTED_SUBJECT: source.subject} | more


async def answers() -> list[list[str]]:
    with running_server() as server:
        client = await Client().connect(server.url)
        probe = Probe(client)
        await fences(probe)
        await limits(probe)
        await retries(probe)
        await traps(probe)
        await client.close()
        return probe.rows


async def fences(probe: Probe) -> None:
    await probe.fresh(forms.F2)
    await probe.say("F2: first", RECORD, {EXPECTED: "0"})
    await probe.say("F2: own subject taken", RECORD, {EXPECTED: "0"})
    source = await probe.fresh()
    await probe.say("F3x: first", RECORD, expects(source))
    await probe.say("F3x: own subject taken", RECORD, expects(source))
    await probe.purge(ROOT)
    await probe.say("F3x: input gone, own subject empty", RECORD + "2", expects(source))
    await probe.say("F3x: input gone *and* own subject taken", RECORD, expects(source))
    source = await probe.fresh()
    await probe.say(
        "F3x: input expected by a wildcard", RECORD, expects(Input("rec.*.in.>", source.seq))
    )
    await probe.say("subject header without a sequence", RECORD + "3", {EXPECTED_SUBJECT: ROOT})
    await probe.say(
        "ingress: `end.<trace>` expected at 0", ROOT + "1", expects(Input(end_subject(TRACE), 0))
    )
    await probe.say("marker of the trace", end_subject(TRACE), expects(source))
    await probe.say("ingress after the marker", ROOT + "2", expects(Input(end_subject(TRACE), 0)))


async def limits(probe: Probe) -> None:
    source = await probe.fresh(max_msgs=2)
    await probe.say("room for one more", RECORD, expects(source))
    await probe.say("stream full (`max_msgs`)", RECORD + "2", expects(source))
    await probe.say("stream full *and* own subject taken", RECORD, expects(source))
    source = await probe.fresh(max_bytes=2048)
    await probe.say("room for one more", RECORD, expects(source), b"x" * 1024)
    await probe.say("stream full (`max_bytes`)", RECORD + "2", expects(source), b"x" * 1024)
    taken = "stream full (`max_bytes`) *and* own subject taken"
    await probe.say(taken, RECORD, expects(source), b"x" * 1024)
    source = await probe.fresh(max_msg_size=1024)
    await probe.say("larger than `max_msg_size`", RECORD, expects(source), b"x" * 2048)
    source = await probe.fresh(forms.F2, max_msgs=2, discard=DiscardPolicy.OLD)
    await probe.say("F2 with discard old, full: first", RECORD, {EXPECTED: "0"})
    await probe.say("F2 with discard old, full: one more", RECORD + "2", {EXPECTED: "0"})
    await probe.say("the input written again (it was discarded)", ROOT, {EXPECTED: "0"})


async def retries(probe: Probe) -> None:
    source = await probe.fresh()
    ident = {MSG_ID: RECORD}
    await probe.say("F3x with a message id: first", RECORD, expects(source, **ident))
    await probe.say("F3x with a message id: the same again", RECORD, expects(source, **ident))
    await probe.purge(f"rec.{TRACE}.>")
    await probe.say("the same, after the purge", RECORD, expects(source, **ident))
    await probe.fresh(forms.F2)
    await probe.say("F2 with a message id: first", RECORD, {EXPECTED: "0"} | ident)
    await probe.say("F2 with a message id: the same again", RECORD, {EXPECTED: "0"} | ident)
    await probe.fresh()
    await add_consumer(probe.client, probe.name, "a", ["rec.*.in.>"])
    subscription = await probe.js.pull_subscribe_bind("a", stream=probe.name)
    (msg,) = await subscription.fetch(1)
    await probe.purge("rec.>")
    for title in ("ack of a purged message", "the same ack again"):
        await (await probe.client.send(msg.reply, ACK))
        probe.rows.append([title, "confirmed", "-"])
    await probe.gone()
    await probe.say("no such stream", RECORD, expects(source))


async def traps(probe: Probe) -> None:
    """Writes that look fenced and are not."""
    source = await probe.fresh()
    lower = {name.lower(): value for name, value in expects(Input(ROOT, 99)).items()}
    await probe.say("header names in lower case, wrong sequence", RECORD, lower)
    await probe.say(
        "0 expected on a subject of no stream", RECORD + "1", expects(Input("no.such", 0))
    )
    ident = expects(source) | {MSG_ID: RECORD}
    await probe.say("F3x with a message id", RECORD + "2", ident)
    await probe.purge(RECORD + "2")
    await probe.say("the record removed, the same again: nothing is stored", RECORD + "2", ident)
    await probe.gone()
    config = StreamConfig(
        name=probe.name, subjects=["rec.>"], discard=DiscardPolicy.NEW, max_msgs_per_subject=1
    )
    await probe.js.add_stream(config)
    for title in ("without `discard_new_per_subject`: first", "the second replaces it"):
        await probe.say(title, RECORD, {})
    await probe.fresh(forms.F2)
    await probe.purge(ROOT)
    for _ in range(3):
        await probe.client.write(RECORD, b"x", None)
    await probe.js.update_stream(forms.F3X.log(name=probe.name))
    left = (await probe.client.api(f"STREAM.INFO.{probe.name}"))["state"]["messages"]
    title = "a plain stream with 3 messages on one subject, updated to F3x"
    probe.rows.append([title, f"ok, {left} message left", "-"])


async def recreated(times: int = 300) -> int:
    """How often a stream, deleted and created again under its name at once, holds old messages."""
    found = 0
    with running_server() as server:
        client = await Client().connect(server.url)
        for _ in range(times):
            await client.api(f"STREAM.DELETE.{LOG}")
            try:
                await forms.F2.create(client)
            except APIError:  # 10049, `error creating store for stream`: the same race
                continue
            found += (await client.api(f"STREAM.INFO.{LOG}"))["state"]["messages"] > 0
            await asyncio.gather(*[client.write(f"rec.{i}", b"x", None) for i in range(3)])
        await client.close()
    return found
