"""What the summarising agent says about a package: the same figures give the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from census_models import PackageMetrics, PackageReport


def summary_sentences(metrics: PackageMetrics) -> Iterator[str]:
    """The sentences of the summary, one at a time, without white space around them."""
    yield _size(metrics)
    if metrics.lines.code:
        yield _contents(metrics)
    if metrics.most_complex:
        yield _hardest(metrics)
    if metrics.files > 1 and metrics.largest_module and metrics.lines.code:
        share = metrics.largest_module.code / metrics.lines.code
        yield f"Its largest module is {metrics.largest_module.path} with {share:.0%} of the code."
    if metrics.lines.code:
        yield _comments(metrics)
    if metrics.errors:
        yield _errors(metrics)


def summary_words(metrics: PackageMetrics) -> Iterator[str]:
    """The summary as it is streamed: word by word, white space attached, nothing lost.

    The concatenation of the pieces is exactly ``summarise(metrics)``.
    """
    yield from re.findall(r"\S+\s*", summarise(metrics))


def summarise(metrics: PackageMetrics) -> str:
    """The whole summary, one paragraph."""
    return " ".join(summary_sentences(metrics))


def report_on(metrics: PackageMetrics) -> PackageReport:
    """The figures and the summary of one package."""
    return PackageReport(metrics=metrics, summary=summarise(metrics))


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 file``, ``1,234 files``, ``no files``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {plural or noun + 's'}" if number else f"no {plural or noun + 's'}"


def _size(metrics: PackageMetrics) -> str:
    files, lines = count(metrics.files, "file"), count(metrics.lines.code, "line")
    return f"{metrics.package} consists of {files} with {lines} of code."


def _contents(metrics: PackageMetrics) -> str:
    functions = count(metrics.functions, "function")
    classes = count(metrics.classes, "class", "classes")
    if not metrics.functions:
        return f"It defines {functions} and {classes}."
    mean = metrics.complexity / metrics.functions
    return f"It defines {functions} and {classes}; the mean complexity is {mean:.1f}."


def _hardest(metrics: PackageMetrics) -> str:
    function = metrics.most_complex
    assert function is not None  # noqa: S101 - the caller has looked
    name = f"{function.name} in {function.path}"
    if function.complexity <= 10:
        return f"No function is hard to follow: the worst is {name}, at {function.complexity}."
    if function.complexity <= 25:
        return f"The most complex function is {name}, at {function.complexity}."
    return f"One to read with care is {name}: its complexity is {function.complexity}."


def _comments(metrics: PackageMetrics) -> str:
    if not metrics.lines.comment:
        return "There is no comment in it."
    every = metrics.lines.code / metrics.lines.comment
    if every < 2:
        return "It has more than one comment line for every two lines of code."
    return f"It has one comment line for every {every:,.0f} lines of code."


def _errors(metrics: PackageMetrics) -> str:
    if len(metrics.errors) == 1:
        return f"{metrics.errors[0].path} could not be parsed and is not in these figures."
    return f"{len(metrics.errors):,} of the files could not be parsed and are not in these figures."
