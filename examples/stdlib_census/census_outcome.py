"""The end of the demo: audit, waterfall of the slowest file's trace, report, last line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from census_audit import CensusAudit, audit_census
from census_collecting import Collected
from census_progress import Progress
from census_report import write_report

from penguiflow.durable.claims import Claims
from penguiflow.durable.client import DurableClient
from penguiflow.durable.ledger import Books
from penguiflow.durable.log import Stored
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.waterfall import Waterfall
from penguiflow.durable.waterfall_html import waterfall_fragment
from penguiflow.durable.waterfall_text import waterfall_text
from penguiflow_nats.commands.reading import traces_of
from penguiflow_nats.log import JetStreamLog

NOTES = 20
"""Faults that are listed; the figures count all of them."""


async def conclude(
    client: DurableClient, collected: Collected, *, progress: Progress, killed: int, folder: Path
) -> int:
    """Audit what is on the server, write the report, and say how it went.

    Returns:
        The exit status: 1 unless every file was counted exactly once.
    """
    await progress.look()
    assert isinstance(client.log, JetStreamLog)  # noqa: S101 - the runtime of penguiflow_nats
    traces = await traces_of(client.log)
    audit = await audit_census(
        traces.items(), client.codec, Claims(client.log), now=client.log.server_time()
    )
    print(f"{progress.files_figure()} | {progress.nodes_figure()}")
    waterfall = _waterfall(audit, traces)
    fragment = waterfall_fragment(waterfall, labels=audit.labels) if waterfall else ""
    files = write_report(collected.reports, folder, trace_fragment=fragment)
    print(f"report: {files.markdown} and {files.html}\n")
    if waterfall is not None and audit.slowest is not None:
        slowest = audit.slowest
        print(f"the slowest file, {slowest.path}, took {slowest.seconds:.1f} s in")
        columns = shutil.get_terminal_size((100, 24)).columns
        plain = not (sys.stdout.encoding or "").lower().startswith("utf")
        print(
            waterfall_text(waterfall, columns=columns, labels=audit.labels, ascii_only=plain) + "\n"
        )
    _complain(collected.problems)
    _complain(audit.notes)
    print(audit.line(killed), flush=True)
    return 0 if audit.is_clean and not collected.problems else 1


def _waterfall(audit: CensusAudit, traces: dict[str, list[Stored]]) -> Waterfall | None:
    if audit.slowest is None:
        return None
    trace = trace_token(audit.slowest.trace)
    return Waterfall.of(Books.of(trace, traces[trace]))


def _complain(notes: Sequence[str]) -> None:
    for note in notes[:NOTES]:
        print(note)
    if len(notes) > NOTES:
        print(f"and {len(notes) - NOTES} more")
