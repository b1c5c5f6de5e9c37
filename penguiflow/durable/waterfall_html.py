"""A waterfall as HTML: one fragment with its own style, no script, nothing loaded from elsewhere.

Rows are table rows, and what is folded is behind a `<details>` of the browser's own, so that
keyboards and screen readers need no help from us.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from importlib.resources import files
from itertools import groupby

from penguiflow.durable.waterfall import Hop, Waterfall
from penguiflow.durable.waterfall_rows import FOLD, Fold, Labels, clock, facts, rows_of

_COLUMNS = (
    ("pf-node", "node"),
    ("pf-worker", "worker"),
    ("pf-try", "attempt"),
    ("pf-wait pf-number", "wait"),
    ("pf-time pf-number", "time"),
    ("", "when"),
)
_PAGE_STYLE = (
    "body{margin:0 auto;padding:2rem 1.5rem;max-width:80rem;background:#fbfbf9}"
    "@media(prefers-color-scheme:dark){body{background:#14181c}}"
)


@cache
def _style() -> str:
    return (files("penguiflow.durable") / "waterfall.css").read_text(encoding="utf-8")


def waterfall_fragment(
    waterfall: Waterfall, *, limit: int | None = FOLD, labels: Labels | None = None
) -> str:
    """The waterfall as a part of a page.

    Args:
        waterfall: What to show.
        limit: Hops of one node at one depth up to which all are shown; None folds none.
        labels: What the inputs are.
    """
    return _Html(waterfall, labels or {}).fragment(limit)


def waterfall_page(
    waterfall: Waterfall, *, limit: int | None = FOLD, labels: Labels | None = None
) -> str:
    """The waterfall as a page of its own. Arguments as of `waterfall_fragment`."""
    title = f"Trace {escape(waterfall.trace)}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{waterfall_fragment(waterfall, limit=limit, labels=labels)}\n</main>\n</body>\n</html>\n"
    )


class _Html:
    def __init__(self, waterfall: Waterfall, labels: Labels) -> None:
        self._waterfall = waterfall
        self._labels = labels
        self._workers = {name: f"w{n}" for n, name in enumerate(waterfall.workers, start=1)}

    def fragment(self, limit: int | None) -> str:
        rows = rows_of(self._waterfall, limit=limit)
        parts: list[str] = []
        for folded, group in groupby(rows, key=lambda row: isinstance(row, Fold)):
            if folded:
                parts.extend(self._fold(row) for row in group if isinstance(row, Fold))
            else:
                hops = [row for row in group if isinstance(row, Hop)]
                parts.append(self._table(hops, "Hops", shows_head=not parts))
        name = escape(self._waterfall.trace)
        return (
            f'<div class="pf-waterfall">\n<style>\n{_style()}</style>\n'
            f"<p>Trace <code>{name}</code>: {escape(facts(self._waterfall))}.</p>\n"
            '<div class="pf-scroll" role="region" aria-label="Waterfall of the trace" '
            'tabindex="0">\n' + "\n".join(parts) + f"\n</div>\n{self._legend()}</div>"
        )

    def _legend(self) -> str:
        names = ", ".join(
            f"{short} is <code>{escape(name)}</code>" for name, short in self._workers.items()
        )
        text = "A thin bar is the time an input waited, a thick one the time of the attempt."
        return f'<p class="pf-note">{text} {names}</p>\n'

    def _table(self, hops: Iterable[Hop], caption: str, *, shows_head: bool) -> str:
        hidden = "" if shows_head else ' class="pf-hidden"'
        again = "" if shows_head else ' class="pf-again-head"'
        head = "".join(
            f'<th scope="col" class="{kind}"><span{hidden}>{name}</span></th>'
            for kind, name in _COLUMNS
        )
        body = "\n".join(self._hop(hop) for hop in hops)
        return (
            f'<table>\n<caption class="pf-hidden">{escape(caption)}</caption>\n'
            f"<thead{again}><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _fold(self, fold: Fold) -> str:
        text = f"{fold.node}: {len(fold.hops)} more hops"
        lane = self._lane([("pf-bar", fold.arrived, fold.ended)], text)
        return (
            f'<details style="--pf-depth:{min(fold.depth, 12)}">\n<summary>'
            f'<span class="pf-name">{escape(text)}</span>'
            f'<span class="pf-number">{escape(fold.span())}</span>{lane}</summary>\n'
            f"{self._table(fold.hops, text, shows_head=False)}\n</details>"
        )

    def _hop(self, hop: Hop) -> str:
        full = escape(
            f"{hop.node} {self._labels.get((hop.node, hop.input), hop.input)}", quote=True
        )
        name = f'<th scope="row" title="{full}">{escape(hop.node)}{self._label(hop)}</th>'
        worker = escape(self._workers.get(hop.worker, ""))
        title = escape(hop.worker, quote=True)
        cells = (
            f'<td title="{title}">{worker}</td>',
            f"<td>{self._attempt(hop)}</td>",
            f'<td class="pf-number">{clock(hop.wait)}</td>',
            f'<td class="pf-number">{self._time(hop)}</td>',
            f"<td>{self._lane(list(self._bars(hop)), self._spoken(hop))}</td>",
        )
        return f'<tr style="--pf-depth:{min(hop.depth, 12)}">{name}{"".join(cells)}</tr>'

    def _label(self, hop: Hop) -> str:
        label = self._labels.get((hop.node, hop.input), "")
        if not label and hop.joined > 1:
            label = f"of {hop.joined}"
        return f' <span class="pf-label">{escape(label)}</span>' if label else ""

    @staticmethod
    def _attempt(hop: Hop) -> str:
        if not hop.is_settled:
            return ""
        if not hop.is_redelivered:
            return str(hop.attempt)
        return f'{hop.attempt} <span class="pf-again">delivered {hop.deliveries} times</span>'

    @staticmethod
    def _time(hop: Hop) -> str:
        if not hop.is_settled:
            return '<span class="pf-again">waiting</span>'
        if hop.outcome == "ok":
            return clock(hop.duration)
        title = escape(hop.error, quote=True)
        return f'{clock(hop.duration)} <span class="pf-bad" title="{title}">{hop.outcome}</span>'

    @staticmethod
    def _bars(hop: Hop) -> Iterator[tuple[str, float, float]]:
        if hop.wait > 0:
            yield "pf-bar pf-waits", hop.arrived, hop.started
        if hop.is_settled:
            kind = "" if hop.outcome == "ok" else " pf-bad"
            kind = kind or (" pf-again" if hop.is_redelivered else "")
            yield f"pf-bar{kind}", hop.started, hop.ended

    def _lane(self, bars: list[tuple[str, float, float]], spoken: str) -> str:
        spans = "".join(
            f'<span class="{kind}" style="left:{self._share(start):.2f}%;'
            f'width:{self._share(end) - self._share(start):.2f}%"></span>'
            for kind, start, end in bars
        )
        return f'<span class="pf-hidden">{escape(spoken)}</span><div class="pf-lane">{spans}</div>'

    def _spoken(self, hop: Hop) -> str:
        start = clock(max(0.0, hop.started - self._waterfall.began))
        return f"starts after {start}"

    def _share(self, moment: float) -> float:
        length = self._waterfall.seconds or 1.0
        return min(100.0, max(0.0, 100 * (moment - self._waterfall.began) / length))


__all__ = ["waterfall_fragment", "waterfall_page"]
