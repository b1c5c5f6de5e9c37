"""`penguiflow topology plan|apply|verify|move module:flow`: streams and consumers of a flow."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections import Counter

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.loading import load_flow
from penguiflow.cli.options import count, option, seconds
from penguiflow.cli.output import say
from penguiflow.durable.check import check_durable
from penguiflow.durable.ledger import Books
from penguiflow.durable.stranded import Stranded, move, stranded_in
from penguiflow.durable.tokens import token
from penguiflow.durable.topology import Topology, flow_token
from penguiflow_nats import error_codes
from penguiflow_nats.commands.reading import traces_of
from penguiflow_nats.commands.shared import add_flow, explained, opened_log, server_of
from penguiflow_nats.errors import ApiError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.provisioning import Provisioner
from penguiflow_nats.runtime import connected
from penguiflow_nats.subjects import Names
from penguiflow_nats.topology_plan import TopologyPlan, wanted_for


class TopologyCommand:
    """Plans streams and consumers from the graph, and shows the difference to what is there."""

    name = "topology"
    help = "show, apply or verify the streams and consumers that a flow needs"

    def configure(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        plan = actions.add_parser("plan", help="show what would be created and changed")
        apply = actions.add_parser("apply", help="create what is missing, change what may be")
        verify = actions.add_parser("verify", help="exit status 1 when something differs")
        move = actions.add_parser(
            "move", help="give inputs of a node that is gone, or reads them no more, to a node"
        )
        add_flow(move)
        move.add_argument("old", metavar="OLD", help="the node that they wait for")
        move.add_argument("new", metavar="NEW", help="the node that gets them")
        move.add_argument("--dry-run", action="store_true", help="only say how many")
        for each in (plan, apply, verify):
            add_flow(each)
            option(
                each,
                "--lease",
                env="PENGUIFLOW_LEASE",
                type=seconds,
                default=15.0,
                metavar="S",
                help="the lease that the workers are meant to have",
            )
            option(
                each,
                "--concurrency",
                env="PENGUIFLOW_CONCURRENCY",
                type=count,
                default=64,
                metavar="N",
                help="inputs in work at once per node and worker",
            )

    def run(self, args: Namespace) -> int:
        with explained(args):
            return asyncio.run(_move(args) if args.action == "move" else _run(args))


command = TopologyCommand()


async def _run(args: Namespace) -> int:
    flow = load_flow(args.flow)
    check_durable(flow.graph)
    names = Names(args.tenant, flow_token(flow.graph, flow.name, flow.version))
    topology = Topology(flow.graph, lease=args.lease)
    wanted = wanted_for(names, topology, concurrency=args.concurrency)
    known = tuple(topology.tokens.values())
    async with connected(server_of(args)) as connection:
        provisioner = Provisioner(JetStream(connection), names, wanted, known=known)
        apply = args.action == "apply"
        plan = await (provisioner.apply() if apply else provisioner.plan())
        log = JetStreamLog(connection, tenant=args.tenant, flow=names.flow)
        looked = args.action == "verify" or bool(plan.stranded)
        waiting = await _waiting(log, topology) if looked and not plan.streams else []
    for line in plan.lines():
        say(line)
    for node, number in Counter(each.node for each in waiting).items():
        say(f"? node {node}: {number} inputs wait that nobody reads; give them to another node by")
        say(f"  `penguiflow topology move {args.flow} {node} NEW`")
    say(f"topology: {_summary(plan, len(waiting), applied=apply)}")
    differs = plan.missing or plan.changes if args.action == "verify" else plan.refused
    return 1 if differs or waiting else 0


async def _waiting(log: JetStreamLog, topology: Topology) -> list[Stranded]:
    """What nobody reads, oldest trace first; reads the whole log of the flow."""
    traces = await traces_of(log)
    return [
        each
        for trace, entries in traces.items()
        for each in stranded_in(Books.of(trace, entries), topology)
    ]


async def _move(args: Namespace) -> int:
    async with opened_log(args) as (flow, log):
        topology = Topology(flow.graph)
        if args.new not in topology.tokens:
            text = f"the flow has no node {args.new}"
            raise UsageError(text, hint=f"it has {', '.join(topology.tokens)}")
        orphan = log.names.consumer(token(args.old))
        await _require_unserved(log, orphan, args.old, topology)
        found = [each for each in await _waiting(log, topology) if each.node == args.old]
        if args.dry_run:
            say(f"topology: {len(found)} inputs of node {args.old} would go to {args.new}")
            return 0
        moved = 0
        for each in found:
            moved += await move(log, each, args.new, by="penguiflow topology move")
        say(f"topology: {moved} inputs of node {args.old} went to {args.new}")
        if args.old not in topology.tokens and await _remove(log, orphan):
            say(f"topology: consumer {orphan} is removed")
    return 0


async def _require_unserved(
    log: JetStreamLog, consumer: str, node: str, topology: Topology
) -> None:
    """Workers of the old graph process their node's inputs: there is nothing to move."""
    if node in topology.tokens:
        return
    try:
        info = await log.jetstream.consumer_info(log.names.log_stream, consumer)
    except ApiError as error:
        if error.err_code == error_codes.CONSUMER_NOT_FOUND:
            return
        raise
    if info.num_waiting:
        text = f"workers of another graph still serve node {node}"
        raise CommandError(text, hint="let them finish and stop them first")


async def _remove(log: JetStreamLog, consumer: str) -> bool:
    try:
        await log.jetstream.delete_consumer(log.names.log_stream, consumer)
    except ApiError as error:
        if error.err_code == error_codes.CONSUMER_NOT_FOUND:
            return False
        raise
    return True


def _summary(plan: TopologyPlan, waiting: int, *, applied: bool) -> str:
    if not (plan.missing or plan.changes or waiting):
        return "as the flow needs it"
    counts = {
        "created" if applied else "to create": len(plan.missing),
        "changed" if applied else "to change": len(plan.changes) - len(plan.refused),
        "refused": len(plan.refused),
        "inputs that nobody reads": waiting,
    }
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


__all__ = ["TopologyCommand", "command"]
