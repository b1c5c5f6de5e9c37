"""`penguiflow audit module:flow`: whether anything was lost or done twice, by the log alone."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from typing import Final

from penguiflow.cli.options import option, seconds
from penguiflow.cli.output import say
from penguiflow.durable.audit import IDLE, Report, audit_trace
from penguiflow_nats.commands.reading import traces_of
from penguiflow_nats.commands.shared import add_flow, explained, opened_log

_SHOWN: Final = 50
"""Findings that are listed unless all are asked for."""


class AuditCommand:
    """Audits all traces that are still in the log; reads and changes nothing."""

    name = "audit"
    help = "prove from the log that every input was settled once, or list what was not"

    def configure(self, parser: ArgumentParser) -> None:
        add_flow(parser)
        option(
            parser,
            "--idle",
            env="PENGUIFLOW_AUDIT_IDLE",
            type=seconds,
            default=IDLE,
            metavar="S",
            help="seconds without a new entry after which what a trace waits for counts as lost",
        )
        parser.add_argument("--all", action="store_true", help="list every finding")

    def run(self, args: Namespace) -> int:
        with explained(args):
            report = asyncio.run(_audit(args))
        shown = report.findings if args.all else report.findings[:_SHOWN]
        for finding in shown:
            where = f"trace {finding.trace} node {finding.node or '-'} input {finding.input or '-'}"
            say(f"{finding.fault.value}: {where}: {finding.detail}")
        if len(shown) < len(report.findings):
            say(f"and {len(report.findings) - len(shown)} more; --all lists them")
        say(f"audit: {report.line()} traces={len(report.traces)}")
        return 0 if report.is_clean else 1


command = AuditCommand()


async def _audit(args: Namespace) -> Report:
    async with opened_log(args) as (flow, log):
        traces = await traces_of(log)
        now = log.server_time()
    joins = {str(node.name) for node in flow.graph.nodes if node.join is not None}
    return Report(
        [
            audit_trace(trace, entries, now=now, idle=args.idle, joins=joins)
            for trace, entries in traces.items()
        ]
    )


__all__ = ["AuditCommand", "command"]
