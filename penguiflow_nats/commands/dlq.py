"""`penguiflow dlq ls|show|redrive|drop`: what could not be processed, and what becomes of it."""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.loading import load_registry
from penguiflow.cli.observing import add_telemetry, observed
from penguiflow.cli.options import count, option, per_second
from penguiflow.cli.output import say, tell
from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.dead_letters import Buried, Selection
from penguiflow.durable.envelope import Output, decode
from penguiflow.durable.inputs import input_for
from penguiflow.durable.redrive import Redriven, Redriver, TraceInUse
from penguiflow.durable.redrive_plan import RedrivePlan, Wish
from penguiflow.durable.topology import Topology
from penguiflow.durable.wire_errors import WireError
from penguiflow.flow import PenguiFlow
from penguiflow.types import Message
from penguiflow_nats import error_codes
from penguiflow_nats.commands.dlq_options import add_selection, selected
from penguiflow_nats.commands.dlq_text import described, json_of, line_of, outcome_of
from penguiflow_nats.commands.shared import add_flow, add_server, explained, opened_log, server_of
from penguiflow_nats.errors import ApiError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.letter_box import LetterBox
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.runtime import connected


class DlqCommand:
    """The tenant's dead letters."""

    name = "dlq"
    help = "list, show, redrive and drop dead letters"

    def configure(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        ls = actions.add_parser("ls", help="list dead letters, the oldest first")
        add_selection(ls, ids=False)
        ls.add_argument("--limit", type=count, metavar="N", help="only the first N")
        ls.add_argument("--json", action="store_true", help="one JSON object a line")
        show = actions.add_parser("show", help="show all of one letter, as JSON")
        show.add_argument("ids", nargs=1, metavar="ID", help="or its first digits")
        drop = actions.add_parser("drop", help="remove letters for good, without running them")
        add_selection(drop)
        for each in (ls, show, drop):
            add_server(each)
        redrive = actions.add_parser("redrive", help="submit letters again, as new traces")
        add_flow(redrive)
        add_selection(redrive, flow=False)
        _add_redrive(redrive)
        for each in (drop, redrive):
            each.add_argument("--all", action="store_true", help="all of them")
            each.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def run(self, args: Namespace) -> int:
        with explained(args):
            return asyncio.run(_ACTIONS[args.action](args))


command = DlqCommand()


def _add_redrive(parser: ArgumentParser) -> None:
    parser.add_argument("--rate", type=per_second, metavar="N", help="new traces a second, at most")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N new traces")
    parser.add_argument(
        "--payload",
        metavar="FILE",
        help="JSON that takes the place of the payload, - for standard input; for one letter",
    )
    parser.add_argument("--trace-id", metavar="ID", help="id of the new trace; for one letter")
    parser.add_argument("--to-node", metavar="N", help="give it to this node instead")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also when its trace was cancelled, or a join after it cannot be complete",
    )
    add_telemetry(parser)
    option(
        parser,
        "--registry",
        env="PENGUIFLOW_REGISTRY",
        metavar="MODULE:ATTR",
        help="the ModelRegistry, for nodes that validate",
    )


# Looking


@asynccontextmanager
async def _box(args: Namespace) -> AsyncIterator[LetterBox]:
    async with connected(server_of(args)) as connection:
        box = LetterBox(connection, tenant=args.tenant)
        try:
            await JetStream(connection).stream_info(box.stream)
        except ApiError as error:
            if error.err_code != error_codes.STREAM_NOT_FOUND:
                raise
            text = f"tenant {args.tenant} has no stream of dead letters on this server"
            hint = "a worker of a flow creates it at its first start"
            raise CommandError(text, hint=hint) from error
        yield box


async def _ls(args: Namespace) -> int:
    shown = 0
    async with _box(args) as box:
        async for buried in box.scan(selected(args)):
            if args.limit is not None and shown >= args.limit:
                tell(f"only the first {args.limit} are shown")
                break
            shown += 1
            say(json_of(described(buried)) if args.json else line_of(buried))
    if not shown and not args.json:
        say(f"no dead letters of tenant {args.tenant} are as asked for")
    return 0


async def _show(args: Namespace) -> int:
    async with _box(args) as box:
        found = [each async for each in box.scan(Selection(ids=args.ids))]
    _one(args.ids[0], found)
    say(json.dumps(json.loads(json_of(described(found[0]))), indent=2, ensure_ascii=False))
    return 0


def _one(identity: str, found: list[Buried]) -> None:
    if not found:
        text = f"there is no dead letter {identity}"
        raise CommandError(text, hint="`penguiflow dlq ls` lists them")
    if len({each.id for each in found}) > 1:
        text = f"{identity} begins the ids of {len(found)} dead letters"
        raise CommandError(text, hint="give more digits")


# Changing


def _require_choice(args: Namespace, selection: Selection) -> None:
    if selection.is_all and not args.all:
        text = "nothing is selected"
        raise UsageError(text, hint="give ids, a filter such as --node, or --all")


async def _checked_ids(args: Namespace, box: LetterBox) -> None:
    """Each id must name exactly one letter: what is redriven or dropped is not guessed."""
    for each in args.ids:
        _one(each, [b async for b in box.scan(Selection(ids=(each,)))])


async def _drop(args: Namespace) -> int:
    selection = selected(args)
    _require_choice(args, selection)
    dropped = 0
    async with _box(args) as box:
        await _checked_ids(args, box)
        async for buried in box.scan(selection):
            gone = args.dry_run or await box.remove(buried)
            dropped += gone
            if gone:
                say(line_of(buried))
    verb = "would be dropped" if args.dry_run else "dropped"
    say(f"dlq: {dropped} {verb}")
    return 0


async def _redrive(args: Namespace) -> int:
    async with opened_log(args) as (flow, log):
        args.flow_token = log.flow
        selection = selected(args)
        _require_choice(args, selection)
        box = LetterBox(log.connection, tenant=args.tenant)
        await _checked_ids(args, box)
        codec = _codec(flow, args)
        wish = await _wish(args, box, selection, codec)
        async with observed(args, flow.name or "penguiflow", metrics=False) as telemetry:
            told = telemetry or flow.telemetry
            redriver = Redriver(log, box, Topology(flow.graph), codec, by=_whoami(), telemetry=told)
            try:
                plans = await redriver.plan(selection, wish)
            except TraceInUse as error:
                raise UsageError(str(error)) from error
            return await _carried_out(args, redriver, _limited(plans, args.limit), log)


def _limited(plans: list[RedrivePlan], limit: int | None) -> list[RedrivePlan]:
    going = [plan for plan in plans if plan.unit is not None]
    if limit is None or len(going) <= limit:
        return plans
    tell(f"{len(going)} would go; the limit is {limit}")
    return going[:limit]


async def _carried_out(
    args: Namespace, redriver: Redriver, plans: list[RedrivePlan], log: JetStreamLog
) -> int:
    counts = dict.fromkeys(Redriven, 0)
    if args.dry_run:
        for plan in plans:
            say(outcome_of(plan, None))
        going = sum(not plan.refused for plan in plans)
        say(f"dlq: {going} would be done, {len(plans) - going} refused")
        return 0
    async for done in redriver.redrive(plans, rate=args.rate):
        counts[done.outcome] += 1
        say(outcome_of(done.plan, done.outcome))
    listed = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    say(f"dlq: {listed or 'no letters of flow ' + log.flow + ' are as asked for'}")
    return 1 if counts[Redriven.REFUSED] or counts[Redriven.TAKEN] else 0


def _codec(flow: PenguiFlow, args: Namespace) -> ValueCodec:
    registry = load_registry(args.registry) if args.registry else None
    return ValueCodec(TypeMap.of_flow(flow.graph, registry))


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in a container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


async def _wish(args: Namespace, box: LetterBox, selection: Selection, codec: ValueCodec) -> Wish:
    wish = Wish(
        tenant=args.tenant,
        node=args.to_node,
        trace_id=args.trace_id,
        force=args.force,
        by=_whoami(),
    )
    if args.payload is None:
        return wish
    found = [each async for each in box.scan(selection)]
    if len(found) != 1:
        text = f"--payload is for one letter, and {len(found)} are selected"
        raise UsageError(text, hint="name one by its id")
    return replace(wish, output=_edited(found[0], _json(args.payload), codec))


def _json(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"{file} is no JSON: {error}"
        raise UsageError(msg) from error


def _edited(buried: Buried, new: Any, codec: ValueCodec) -> Output:
    """The letter's value with another payload of the same type; a plain value if it has none."""
    letter = buried.letter
    node, trace = letter.node, letter.stored.key.trace
    try:
        envelope = decode(letter.stored.data)
        found = input_for(letter.stored, envelope, node)
        value = codec.unpack_output(found.output) if found is not None else None
    except WireError:
        value = None
    if isinstance(value, Message):
        changed: Any = value.model_copy(update={"payload": _of_type(value.payload, new)})
    else:
        changed = _of_type(value, new)
    return codec.pack_output(changed, (node,), trace)


def _of_type(old: Any, new: Any) -> Any:
    kind = type(old)
    if old is None or not (isinstance(old, BaseModel) or hasattr(kind, "__dataclass_fields__")):
        return new
    try:
        return TypeAdapter(kind).validate_python(new)
    except ValidationError as error:
        text = f"the payload is no {kind.__name__}: {error}"
        raise UsageError(text, hint="`penguiflow dlq show ID` prints the old one") from error


_ACTIONS: Final[dict[str, Callable[[Namespace], Coroutine[Any, Any, int]]]] = {
    "ls": _ls,
    "show": _show,
    "drop": _drop,
    "redrive": _redrive,
}

__all__ = ["DlqCommand", "command"]
