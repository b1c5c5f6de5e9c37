"""`penguiflow doctor`: what is wrong with a server and a flow on it, and what to change."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

import msgspec

from penguiflow.cli.errors import CommandError
from penguiflow.cli.loading import load_flow
from penguiflow.cli.options import count, option, patience, seconds
from penguiflow.cli.output import say
from penguiflow_nats.commands.shared import add_server, explained, server_of
from penguiflow_nats.doctor import Case, Finding, diagnose, look, summary
from penguiflow_nats.runtime import connected


class DoctorCommand:
    """Examines; changes nothing."""

    name = "doctor"
    help = "examine a server and a flow on it; exit status 1 when something is an error"

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--flow", metavar="MODULE:FLOW", help="also examine this flow")
        add_server(parser)
        option(
            parser,
            "--monitor",
            env="PENGUIFLOW_NATS_MONITOR",
            metavar="URL",
            help="the server's monitoring, as http://127.0.0.1:8222: tells of sync and disk",
        )
        option(
            parser,
            "--lease",
            env="PENGUIFLOW_LEASE",
            type=seconds,
            default=15.0,
            metavar="S",
            help="the lease that the workers are meant to have",
        )
        option(
            parser,
            "--concurrency",
            env="PENGUIFLOW_CONCURRENCY",
            type=count,
            default=64,
            metavar="N",
            help="inputs in work at once per node and worker",
        )
        parser.add_argument("--workers", type=count, default=1, metavar="N", help="workers meant")
        parser.add_argument(
            "--sample",
            type=patience,
            default=2.0,
            metavar="S",
            help="seconds between the two looks that a forecast needs",
        )
        parser.add_argument("--json", action="store_true", help="one JSON array of findings")

    def run(self, args: Namespace) -> int:
        with explained(args):
            findings = asyncio.run(_examine(args))
        if args.json:
            say(msgspec.json.encode([asdict(each) for each in findings]).decode())
        else:
            for finding in findings:
                say(_text(finding))
            say(f"doctor: {summary(findings)}")
        return 1 if any(each.severity == "error" for each in findings) else 0


command = DoctorCommand()


async def _examine(args: Namespace) -> list[Finding]:
    case = Case(
        tenant=args.tenant,
        flow=load_flow(args.flow) if args.flow else None,
        lease=args.lease,
        concurrency=args.concurrency,
        workers=args.workers,
    )
    async with connected(server_of(args)) as connection:
        try:
            facts = await look(connection, case, monitor=args.monitor, interval=args.sample)
        except OSError as error:
            text = f"the monitoring at {args.monitor} does not answer: {error}"
            raise CommandError(text, hint="name it by --monitor, or leave it out") from error
    return diagnose(facts, case)


def _text(finding: Finding) -> str:
    head = f"{finding.severity} {finding.id}: {finding.where}: {finding.evidence}"
    return f"{head}\n    fix: {finding.fix}"


__all__ = ["DoctorCommand", "command"]
