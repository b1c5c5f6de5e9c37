"""The report of a census: ``report.md`` and ``report.html`` in a folder.

Neither holds a date, a duration or a machine's name: two censuses of the same library give the same
bytes, however the work was spread. Only the trace passed in differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from census_collect import Census, collect
from census_html import render_html
from census_models import PackageMetrics, PackageReport


class ReportFiles(NamedTuple):
    """Where the report was written."""

    markdown: Path
    html: Path


def write_report(
    reports: Iterable[PackageReport],
    folder: Path,
    *,
    python: str | None = None,
    trace_fragment: str = "",
) -> ReportFiles:
    """Write both pages, creating the folder.

    Args:
        reports: one per package, in any order.
        folder: where the two files go; older ones are replaced.
        python: the version in the headline; that of the running Python by default.
        trace_fragment: HTML or SVG of a trace. It goes into the page as it is, so it has to be
            escaped already.
    """
    census = collect(reports, python=python)
    files = ReportFiles(folder / "report.md", folder / "report.html")
    folder.mkdir(parents=True, exist_ok=True)
    files.markdown.write_text(render_markdown(census), encoding="utf-8")
    files.html.write_text(render_html(census, trace_fragment=trace_fragment), encoding="utf-8")
    return files


def render_markdown(census: Census) -> str:
    """The report as Markdown."""
    sections = [
        f"# Census of the Python {census.python} standard library",
        _table(("what", "how many"), [(n, f"{v:,}") for n, v in census.totals.labelled()]),
        "## Most complex functions",
        _table(
            ("complexity", "function", "file"),
            [
                (f"{f.complexity:,}", _code(f.name), _code(f"{f.path}:{f.line}"))
                for f in census.functions
            ],
        ),
        "## Largest modules",
        _table(("code lines", "file"), [(f"{m.code:,}", _code(m.path)) for m in census.modules]),
        "## Packages",
        _table(
            ("package", "files", "code", "comment", "functions", "classes", "complexity", "max"),
            [_package_row(report.metrics) for report in census.packages],
        ),
        "## Files that could not be parsed",
        _table(("file", "error"), [(_code(e.path), _code(e.error)) for e in census.errors])
        if census.errors
        else "None.",
        "## Summaries",
        *(_text(report.summary) for report in census.packages),
    ]
    return "\n\n".join(sections) + "\n"


def _package_row(metrics: PackageMetrics) -> tuple[str, ...]:
    figures = (
        metrics.files,
        metrics.lines.code,
        metrics.lines.comment,
        metrics.functions,
        metrics.classes,
        metrics.complexity,
        metrics.max_complexity,
    )
    return (_code(metrics.package), *(f"{figure:,}" for figure in figures))


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose figures, recognised by their digits, are aligned to the right."""
    rows = list(rows)
    first = rows[0] if rows else headers
    rule = ["---:" if cell.replace(",", "").isdigit() else "---" for cell in first]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *rows))


def _code(text: str) -> str:
    """A code span; in it only its own delimiter and the bar of a table need care."""
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"


def _text(text: str) -> str:
    """Running text in which no name turns into markup: ``__init__`` or ``<locals>``."""
    for character in "\\`*_<>[]|":
        text = text.replace(character, "\\" + character)
    return text
