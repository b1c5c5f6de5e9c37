"""`penguiflow audit module:flow`: whether anything was lost or done twice, by the log alone."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from penguiflow.cli.options import option, seconds
from penguiflow.cli.output import say
from penguiflow.durable.audit import IDLE, Report, TraceAudit, audit_trace
from penguiflow.durable.audit_parts import read_parts
from penguiflow.durable.claims import Claims
from penguiflow.durable.log import Stored
from penguiflow_nats.commands.period import Period, add_period, period
from penguiflow_nats.commands.reading import traces_of
from penguiflow_nats.commands.shared import add_flow, explained, opened_log

_SHOWN: Final = 50
"""Findings, and unfinished traces, that are listed unless all are asked for."""


class AuditCommand:
    """Audits the traces that are still in the log; reads and changes nothing.

    Every accepted trace without a terminal state is there, however old: only what has ended is
    removed after its retention.
    """

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
        add_period(parser, "traces accepted")
        parser.add_argument(
            "--all", action="store_true", help="list every finding and every unfinished trace"
        )

    def run(self, args: Namespace) -> int:
        with explained(args):
            audited = asyncio.run(_audit(args))
        report, limit = audited.report, None if args.all else _SHOWN
        findings = [
            f"{finding.fault.value}: trace {finding.trace} node {finding.node or '-'} "
            f"input {finding.input or '-'}: {finding.detail}"
            for finding in report.findings
        ]
        _list(findings, limit)
        _list([_unfinished(trace, audited.last) for trace in report.unfinished], limit)
        say(f"audit: {report.line()} traces={len(report.traces)}")
        return 0 if report.is_clean else 1


command = AuditCommand()


@dataclass(frozen=True, slots=True)
class _Audited:
    report: Report
    last: Mapping[str, float]
    """When the last entry of each trace was written, by the trace id."""


async def _audit(args: Namespace) -> _Audited:
    async with opened_log(args) as (flow, log):
        traces = await traces_of(log)
        await log.synchronise()
        now = log.server_time()
        wanted = period(args.since, args.until, now=now)
        joins = {str(node.name) for node in flow.graph.nodes if node.join is not None}
        audits, last, claims = [], {}, Claims(log)
        for trace, entries in traces.items():
            if not _accepted(entries, wanted):
                continue
            parts = await read_parts(claims, entries)
            audit = audit_trace(trace, entries, now=now, idle=args.idle, joins=joins, parts=parts)
            audits.append(audit)
            last[audit.trace] = max(entry.timestamp for entry in entries)
    return _Audited(Report(audits), last)


def _accepted(entries: Sequence[Stored], wanted: Period) -> bool:
    """Whether the trace's first message, or what is left of it, was accepted in the period."""
    submitted = [entry.timestamp for entry in entries if entry.key.submits]
    return min(submitted or [entry.timestamp for entry in entries]) in wanted


def _unfinished(audit: TraceAudit, last: Mapping[str, float]) -> str:
    when = datetime.fromtimestamp(last[audit.trace], UTC).isoformat(timespec="seconds")
    return (
        f"unfinished: trace {audit.trace}: {audit.status.value}, "
        f"{audit.settled} of {audit.sent} inputs settled, last entry {when}"
    )


def _list(lines: Sequence[str], limit: int | None) -> None:
    for line in lines[:limit]:
        say(line)
    if limit is not None and len(lines) > limit:
        say(f"and {len(lines) - limit} more; --all lists them")


__all__ = ["AuditCommand", "command"]
