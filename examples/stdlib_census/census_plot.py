"""The two plots of the report, drawn as SVG. Colours come from the style sheet of the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from statistics import median
from typing import NamedTuple

from census_models import PackageMetrics

WIDTH = 960

_ROW = 24
_BAR = 16
_LABEL_WIDTH = 200
_VALUE_WIDTH = 90

_HEIGHT = 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 36, 52
_MAX_LABELS = 24
_CHARACTER = 6.9
"""Width of a character of a label, a little more than most need."""


class Box(NamedTuple):
    """A rectangle that a label covers."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two have any point in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


class LogAxis(NamedTuple):
    """Maps values from one to ``highest`` onto pixels, by their logarithm."""

    start: float
    end: float
    highest: float

    def position(self, value: float) -> float:
        """Where a value lies; everything below one lies where one does."""
        share = math.log10(max(value, 1)) / math.log10(self.highest)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> Iterator[int]:
        """The powers of ten on the axis."""
        power = 1
        while power <= self.highest:
            yield power
            power *= 10


def is_test_package(name: str) -> bool:
    """Whether a package holds tests, by its name: ``test.support``, ``idlelib.idle_test``."""
    return any(part in {"test", "tests"} or part.endswith("_test") for part in name.split("."))


def package_bars(packages: Sequence[PackageMetrics]) -> str:
    """Horizontal bars of the code lines per package, in the order given."""
    top = 34
    height = top + _ROW * len(packages) + 8
    longest = max((package.lines.code for package in packages), default=0) or 1
    room = WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    bars = []
    for row, package in enumerate(packages):
        y = top + row * _ROW
        width = max(room * package.lines.code / longest, 1)
        middle = y + _BAR - 4
        bars.append(
            f"<g><title>{_tooltip(package)}</title>"
            f'<rect class="hit" x="0" y="{y - 4}" width="{WIDTH}" height="{_ROW}"/>'
            f'<text class="name" x="{_LABEL_WIDTH - 10}" y="{middle}" text-anchor="end">'
            f"{escape(_shortened(package.package))}</text>"
            f'<rect class="{_colour(package)}" x="{_LABEL_WIDTH}" y="{y}" width="{width:.1f}" '
            f'height="{_BAR}" rx="2"/>'
            f'<text class="value" x="{_LABEL_WIDTH + width + 8:.1f}" y="{middle}">'
            f"{package.lines.code:,}</text></g>"
        )
    label = (
        "Bar chart: code lines of the largest packages. The same figures are in the table below."
    )
    return _svg(height, label, [*_legend(_LABEL_WIDTH), *bars])


def package_scatter(packages: Sequence[PackageMetrics]) -> str:
    """One dot per package: code lines to the right, complexity upwards, both logarithmic."""
    highest_x = max((package.lines.code for package in packages), default=0)
    highest_y = max((package.complexity for package in packages), default=0)
    x = LogAxis(_LEFT, WIDTH - _RIGHT, max(highest_x, 10) * 1.6)
    y = LogAxis(_HEIGHT - _BOTTOM, _TOP, max(highest_y, 10) * 1.6)
    dots = [
        f'<circle class="{_colour(package)}" cx="{x.position(package.lines.code):.1f}" '
        f'cy="{y.position(package.complexity):.1f}" r="5">'
        f"<title>{_tooltip(package)}</title></circle>"
        for package in packages
    ]
    label = (
        "Scatter plot: code lines against complexity, one dot per package. "
        "The same figures are in the table below."
    )
    parts = [*_axes(x, y), *_median_line(packages, x, y), *dots, *_labels(packages, x, y)]
    return _svg(_HEIGHT, label, [*parts, *_legend(WIDTH - _RIGHT - 140)])


def _axes(x: LogAxis, y: LogAxis) -> Iterator[str]:
    for tick in x.ticks():
        at = f"{x.position(tick):.1f}"
        yield f'<line class="grid" x1="{at}" y1="{y.end}" x2="{at}" y2="{y.start}"/>'
        yield f'<text class="tick" x="{at}" y="{y.start + 18}" text-anchor="middle">{tick:,}</text>'
    for tick in y.ticks():
        at = f"{y.position(tick):.1f}"
        yield f'<line class="grid" x1="{x.start}" y1="{at}" x2="{x.end}" y2="{at}"/>'
        yield (
            f'<text class="tick" x="{x.start - 8}" y="{at}" text-anchor="end" '
            f'dominant-baseline="middle">{tick:,}</text>'
        )
    yield f'<text class="tick" x="{x.end}" y="{y.start + 40}" text-anchor="end">code lines</text>'
    yield f'<text class="tick" x="{x.start}" y="14">complexity</text>'


def _median_line(packages: Sequence[PackageMetrics], x: LogAxis, y: LogAxis) -> Iterator[str]:
    """Where complexity per line is that of the median package: on these axes a straight line."""
    counted = [p for p in packages if p.lines.code and p.complexity]
    if not counted:
        return
    ratio = median(p.complexity / p.lines.code for p in counted)
    first = max(1.0, 1 / ratio)
    last = min(x.highest, y.highest / ratio)
    yield (
        f'<line class="median" x1="{x.position(first):.1f}" y1="{y.position(first * ratio):.1f}" '
        f'x2="{x.position(last):.1f}" y2="{y.position(last * ratio):.1f}"/>'
    )


def _labels(packages: Sequence[PackageMetrics], x: LogAxis, y: LogAxis) -> Iterator[str]:
    """Names for the largest packages, as far as they find room beside what is named already."""
    dots = [(x.position(p.lines.code), y.position(p.complexity)) for p in packages]
    taken = [Box(cx - 5, cy - 5, cx + 5, cy + 5) for cx, cy in dots]
    written = 0
    by_size = sorted(range(len(dots)), key=lambda index: -packages[index].lines.code)
    for index in by_size:
        name = _shortened(packages[index].package)
        place = _free_place(name, *dots[index], taken, x.end)
        if place is None:
            continue
        box, anchor = place
        taken.append(box)
        at = box.left if anchor == "start" else box.right
        yield (
            f'<text class="label" x="{at:.1f}" y="{box.bottom - 4:.1f}" text-anchor="{anchor}">'
            f"{escape(name)}</text>"
        )
        written += 1
        if written == _MAX_LABELS:
            return


def _free_place(
    name: str, cx: float, cy: float, taken: Iterable[Box], end: float
) -> tuple[Box, str] | None:
    width = len(name) * _CHARACTER
    right = Box(cx + 8, cy - 8, cx + 8 + width, cy + 8)
    left = Box(cx - 8 - width, cy - 8, cx - 8, cy + 8)
    for box, anchor in ((left, "end"), (right, "start")):
        inside = box.left > _LEFT and box.right < end
        if inside and not any(box.overlaps(other) for other in taken):
            return box, anchor
    return None


def _legend(x: float) -> Iterator[str]:
    for offset, colour, text in ((0, "library", "library"), (84, "tests", "tests")):
        left = x + offset
        yield f'<rect class="{colour}" x="{left}" y="4" width="12" height="12" rx="2"/>'
        yield f'<text class="tick" x="{left + 18}" y="14">{text}</text>'


def _tooltip(package: PackageMetrics) -> str:
    return escape(
        f"{package.package}: {package.lines.code:,} code lines, complexity "
        f"{package.complexity:,} in {package.functions:,} functions, {package.files:,} files"
    )


def _colour(package: PackageMetrics) -> str:
    return "tests" if is_test_package(package.package) else "library"


def _shortened(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}\N{HORIZONTAL ELLIPSIS}"


def _svg(height: float, label: str, parts: Iterable[str]) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}" '
        f'xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(parts) + "\n</svg>"
    )
