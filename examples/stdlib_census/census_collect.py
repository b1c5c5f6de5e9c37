"""All packages of a census brought together: sums, order, and what stands out."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import NamedTuple

from census_metrics import largest, most_complex, total
from census_models import FunctionComplexity, ModuleSize, PackageReport, ParseError, Totals


class Census(NamedTuple):
    """Everything the report shows, in the order it shows it."""

    python: str
    totals: Totals
    packages: tuple[PackageReport, ...]
    """The package with the most code lines first."""
    functions: tuple[FunctionComplexity, ...]
    modules: tuple[ModuleSize, ...]
    errors: tuple[ParseError, ...]


def collect(reports: Iterable[PackageReport], *, python: str | None = None) -> Census:
    """Bring the packages, in whatever order they arrived, into the order of the report."""
    packages = sorted(reports, key=lambda r: (-r.metrics.lines.code, r.metrics.package))
    metrics = [report.metrics for report in packages]
    return Census(
        python=python or platform.python_version(),
        totals=total(metrics),
        packages=tuple(packages),
        functions=most_complex(f for package in metrics for f in package.top_functions),
        modules=largest(m for package in metrics for m in package.largest_modules),
        errors=tuple(sorted((e for p in metrics for e in p.errors), key=lambda e: e.path)),
    )
