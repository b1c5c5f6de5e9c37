"""A waterfall for the terminal: aligned columns, and bars as wide as the terminal allows. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from penguiflow.durable.waterfall import Hop, Waterfall
from penguiflow.durable.waterfall_rows import FOLD, Fold, Labels, clock, facts, rows_of

_LEAST_BAR = 10
_MOST_BAR = 72
_MOST_NAME = 36
_GAP = "  "

_UNICODE = {"work": "█", "wait": "·", "fold": "▒", "again": "↻", "more": "…", "rule": "│"}
_ASCII = {"work": "#", "wait": ".", "fold": "=", "again": "!", "more": "~", "rule": "|"}


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of a row, and where its bar is."""

    cells: tuple[str, ...]
    waits_from: float
    works_from: float
    ends: float
    mark: str = "work"


def waterfall_text(
    waterfall: Waterfall,
    *,
    columns: int = 100,
    limit: int | None = FOLD,
    labels: Labels | None = None,
    ascii_only: bool = False,
) -> str:
    """The waterfall as lines.

    Args:
        waterfall: What to show.
        columns: How wide the terminal is.
        limit: Hops of one node at one depth up to which all are shown; None shows all.
        labels: What the inputs are.
        ascii_only: For terminals that know no other signs.
    """
    return _Text(waterfall, columns, labels or {}, _ASCII if ascii_only else _UNICODE).lines(limit)


class _Text:
    def __init__(
        self, waterfall: Waterfall, columns: int, labels: Labels, signs: dict[str, str]
    ) -> None:
        self._waterfall = waterfall
        self._columns = columns
        self._labels = labels
        self._signs = signs
        self._workers = {name: f"w{n}" for n, name in enumerate(waterfall.workers, start=1)}

    def lines(self, limit: int | None) -> str:
        rows = [self._row(row) for row in rows_of(self._waterfall, limit=limit)]
        head = ("node", "worker", "try", "wait", "time")
        widths = [
            max(len(cells[column]) for cells in (head, *(row.cells for row in rows)))
            for column in range(len(head))
        ]
        left = sum(widths) + len(_GAP) * len(widths)
        # On a narrow terminal the names give way, not the figures.
        spare = left + _LEAST_BAR + 2 - self._columns
        if spare > 0:
            widths[0] = max(12, widths[0] - spare)
            left = sum(widths) + len(_GAP) * len(widths)
        bar = min(_MOST_BAR, max(_LEAST_BAR, self._columns - left - 2))
        lines = [
            f"trace {self._waterfall.trace}: {facts(self._waterfall)}",
            self._line(head, widths, self._scale(bar)),
            *(self._line(row.cells, widths, self._bar(row, bar)) for row in rows),
        ]
        if self._workers:
            lines.extend(self._legend())
        if any(hop.is_redelivered for hop in self._waterfall.hops):
            text = "delivered again, after its worker died or was too slow"
            lines.append(f"{self._signs['again']} {text}")
        return "\n".join(line.rstrip() for line in lines)

    def _legend(self) -> list[str]:
        """The workers' own names, as many on a line as there is room for."""
        lines = [""]
        for name, short in self._workers.items():
            word = f"{short} {name}"
            if lines[-1] and len(lines[-1]) + len(_GAP) + len(word) > self._columns:
                lines.append("")
            lines[-1] += (_GAP if lines[-1] else "") + word
        return lines

    def _row(self, row: Hop | Fold) -> _Row:
        if isinstance(row, Fold):
            name = self._indented(row.depth, f"{row.node} ({len(row.hops)})")
            cells = (name, "", "", "", row.span())
            return _Row(cells, row.arrived, row.arrived, row.ended, "fold")
        if not row.is_settled:
            cells = (self._name(row), "", "", clock(row.latency), "waiting")
            return _Row(cells, row.arrived, row.ended, row.ended)
        time = clock(row.duration) + ("" if row.outcome == "ok" else f" {row.outcome}")
        cells = (
            self._name(row),
            self._workers.get(row.worker, row.worker),
            self._tries(row),
            clock(row.wait),
            time,
        )
        return _Row(cells, row.arrived, row.started, row.ended)

    def _name(self, hop: Hop) -> str:
        label = self._labels.get((hop.node, hop.input), "")
        if hop.joined > 1:
            label = label or f"of {hop.joined}"
        return self._indented(hop.depth, f"{hop.node} {label}".rstrip())

    def _indented(self, depth: int, name: str) -> str:
        return _clipped("  " * min(depth, 8) + name, _MOST_NAME, self._signs["more"])

    def _tries(self, hop: Hop) -> str:
        """The attempt, and how often the input was delivered if that was more than once."""
        again = f" {self._signs['again']}{hop.deliveries}" if hop.is_redelivered else ""
        return f"{hop.attempt}{again}"

    def _line(self, cells: tuple[str, ...], widths: list[int], bar: str) -> str:
        name, worker, tries, wait, time = cells
        parts = (
            f"{_clipped(name, widths[0], self._signs['more']):{widths[0]}}",
            f"{worker:{widths[1]}}",
            f"{tries:{widths[2]}}",
            f"{wait:>{widths[3]}}",
            f"{time:>{widths[4]}}",
        )
        rule = self._signs["rule"]
        return _GAP.join((*parts, f"{rule}{bar}{rule}"))

    def _scale(self, width: int) -> str:
        end = clock(self._waterfall.seconds)
        return f"0{end:>{width - 1}}"

    def _bar(self, row: _Row, width: int) -> str:
        first, middle = self._cell(row.waits_from, width), self._cell(row.works_from, width)
        last = max(self._cell(row.ends, width), middle)
        waits = self._signs["wait"] * (middle - first)
        # However short it was, it is seen.
        works = self._signs[row.mark] * (last - middle + 1)
        return (" " * first + waits + works)[:width].ljust(width)

    def _cell(self, moment: float, width: int) -> int:
        length = self._waterfall.seconds or 1.0
        share = (moment - self._waterfall.began) / length
        return min(width - 1, max(0, int(share * width)))


def _clipped(text: str, width: int, more: str) -> str:
    return text if len(text) <= width else text[: width - 1] + more


__all__ = ["waterfall_text"]
