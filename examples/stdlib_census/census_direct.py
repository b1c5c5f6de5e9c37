"""The same census in one process and without any flow: what the flow's figures are checked against.

Run it by itself to get a report: ``python examples/stdlib_census/census_direct.py report-folder``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from census_metrics import combine, measure, total
from census_models import Package, PackageReport
from census_report import write_report
from census_sources import census_root, discover_packages, read_source, split_package
from census_summary import report_on


def direct_census(root: Path, packages: Iterable[Package]) -> list[PackageReport]:
    """Count the packages one after the other, in the order given."""
    return [
        report_on(
            combine(measure(file, read_source(root, file)) for file in split_package(package))
        )
        for package in packages
    ]


def main(arguments: list[str] | None = None) -> int:
    """Count, write the report, print the totals."""
    parser = argparse.ArgumentParser(description="Count the standard library in one process.")
    parser.add_argument("folder", type=Path, help="where report.md and report.html go")
    parser.add_argument("--limit", type=int, help="count only the first packages")
    options = parser.parse_args(arguments)
    root = census_root()
    started = time.perf_counter()
    reports = direct_census(root, discover_packages(root, limit=options.limit))
    seconds = time.perf_counter() - started
    files = write_report(reports, options.folder)
    totals = total([report.metrics for report in reports])
    print(
        f"{totals.packages} packages, {totals.files} files, {totals.lines.total} lines, "
        f"{totals.errors} not parsed, {seconds:.1f} s: {files.html}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
