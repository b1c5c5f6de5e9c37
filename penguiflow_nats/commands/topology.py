"""`penguiflow topology plan|apply|verify module:flow`: streams and consumers of a flow."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace

from penguiflow.cli.loading import load_flow
from penguiflow.cli.options import count, option, seconds
from penguiflow.cli.output import say
from penguiflow.durable.check import check_durable
from penguiflow.durable.topology import Topology, flow_token
from penguiflow_nats.commands.shared import add_flow, explained, server_of
from penguiflow_nats.jetstream import JetStream
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
            return asyncio.run(_run(args))


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
    for line in plan.lines():
        say(line)
    say(f"topology: {_summary(plan, applied=apply)}")
    if args.action == "verify":
        return 0 if plan.is_same else 1
    return 1 if plan.refused or plan.stranded else 0


def _summary(plan: TopologyPlan, *, applied: bool) -> str:
    if plan.is_same:
        return "as the flow needs it"
    counts = {
        "created" if applied else "to create": len(plan.missing),
        "changed" if applied else "to change": len(plan.changes) - len(plan.refused),
        "refused": len(plan.refused),
        "removed nodes with entries waiting": len(plan.stranded),
    }
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


__all__ = ["TopologyCommand", "command"]
