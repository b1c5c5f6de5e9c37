"""The HTML page of a census: one file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from census_collect import Census
from census_models import PackageMetrics, PackageReport, Totals
from census_plot import package_bars, package_scatter

BARS = 20
"""How many packages the bar chart shows."""


class Cell(NamedTuple):
    """One cell of a table: escaped HTML, and whether it is a figure."""

    html: str
    figure: bool = False


def render_html(census: Census, *, trace_fragment: str = "") -> str:
    """The whole page. ``trace_fragment`` is trusted and goes in as it is."""
    title = f"Census of the Python {escape(census.python)} standard library"
    style = Path(__file__).with_name("census_page.css").read_text(encoding="utf-8")
    sections = (
        _header(title, census.totals),
        _plots([report.metrics for report in census.packages]),
        _section("trace", "One trace", _trace(trace_fragment)) if trace_fragment else "",
        _section("functions", "Most complex functions", _functions(census)),
        _section("modules", "Largest modules", _modules(census)),
        _section("packages", "Packages", _packages(census.packages)),
        _section("errors", "Files that could not be parsed", _errors(census)),
        _section("summaries", "Summaries", _summaries(census.packages)),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in sections if part)
        + "\n</body>\n</html>\n"
    )


def _header(title: str, totals: Totals) -> str:
    items = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{value:,}</dd></div>" for name, value in totals.labelled()
    )
    return (
        f"<header>\n<h1>{title}</h1>\n"
        "<p>Every source file, parsed and counted once. Docstrings are code; complexity is "
        "McCabe&#8217;s, summed over all functions.</p>\n"
        f'<dl class="tiles">\n{items}\n</dl>\n</header>'
    )


def _plots(packages: Sequence[PackageMetrics]) -> str:
    shown = min(BARS, len(packages))
    bars = _plot(
        package_bars(packages[:shown]),
        f"Code lines of the {shown} largest packages of {len(packages)}.",
    )
    scatter = _plot(
        package_scatter(packages),
        "Each package by its code lines and its complexity, both axes logarithmic, zero drawn as "
        "one. Above the dashed line code branches more than in the median package. Point at a dot "
        "for its figures.",
    )
    return _section("size", "Where the code is", f"{bars}\n{scatter}")


def _plot(svg: str, caption: str) -> str:
    return (
        '<figure>\n<div class="plot" tabindex="0" role="region" aria-label="Plot">\n'
        f"{svg}\n</div>\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
    )


def _trace(fragment: str) -> str:
    return (
        '<div class="scroll trace" tabindex="0" role="region" aria-labelledby="trace">\n'
        f"{fragment}\n</div>"
    )


def _functions(census: Census) -> str:
    rows = [
        (_figure(f.complexity), _code(f.name), _code(f"{f.path}:{f.line}"))
        for f in census.functions
    ]
    return _table("Functions with the highest complexity", ("complexity", "function", "file"), rows)


def _modules(census: Census) -> str:
    rows = [(_figure(module.code), _code(module.path)) for module in census.modules]
    return _table("Modules with the most code lines", ("code lines", "file"), rows)


def _errors(census: Census) -> str:
    if not census.errors:
        return "<p>None.</p>"
    rows = [(_code(error.path), Cell(escape(error.error))) for error in census.errors]
    note = "<p>They count as files and in no other figure. Most are there to test the parser.</p>\n"
    return note + _table("Files and the reason", ("file", "reason"), rows)


def _packages(reports: Sequence[PackageReport]) -> str:
    headers = ("package", "files", "code", "comment", "functions", "classes", "complexity", "most")
    rows = []
    for number, report in enumerate(reports):
        m = report.metrics
        link = Cell(f'<a href="#package-{number}"><code>{escape(m.package)}</code></a>')
        figures = (m.files, m.lines.code, m.lines.comment, m.functions, m.classes, m.complexity)
        rows.append((link, *(_figure(value) for value in (*figures, m.max_complexity))))
    return _table("All packages, the largest first", headers, rows, row_headers=True)


def _summaries(reports: Sequence[PackageReport]) -> str:
    articles = "\n".join(
        f'<article id="package-{number}">\n<h3><code>{escape(report.metrics.package)}</code></h3>\n'
        f"<p>{escape(report.summary)}</p>\n</article>"
        for number, report in enumerate(reports)
    )
    return f'<div class="summaries">\n{articles}\n</div>'


def _section(identity: str, heading: str, content: str) -> str:
    return f'<section>\n<h2 id="{identity}">{escape(heading)}</h2>\n{content}\n</section>'


def _figure(value: int) -> Cell:
    return Cell(f"{value:,}", figure=True)


def _code(text: str) -> Cell:
    return Cell(f"<code>{escape(text)}</code>")


def _table(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    row_headers: bool = False,
) -> str:
    """A table that scrolls by itself when the window is narrow, also by keyboard."""
    rows = list(rows)
    figures = [cell.figure for cell in rows[0]] if rows else [False] * len(headers)
    head = "".join(
        f'<th scope="col"{_class(figure)}>{escape(header)}</th>'
        for header, figure in zip(headers, figures, strict=True)
    )
    body = "\n".join(f"<tr>{_row(row, row_headers=row_headers)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">\n'
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead>\n<tr>{head}</tr>\n</thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _row(cells: Sequence[Cell], *, row_headers: bool) -> str:
    parts = [f"<td{_class(cell.figure)}>{cell.html}</td>" for cell in cells]
    if row_headers:
        parts[0] = f'<th scope="row">{cells[0].html}</th>'
    return "".join(parts)


def _class(figure: bool) -> str:
    return ' class="figure"' if figure else ""
