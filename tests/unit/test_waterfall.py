"""The waterfall of a trace: its hops, their times and parents, and the ways to show it."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import count

import pytest

from penguiflow.durable.envelope import EGRESS, Envelope, Output, encode
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.log import Key, Kind, Stored
from penguiflow.durable.topology import output_id
from penguiflow.durable.waterfall import WAITING, Hop, Waterfall
from penguiflow.durable.waterfall_html import waterfall_fragment, waterfall_page
from penguiflow.durable.waterfall_rows import Fold, clock, rows_of
from penguiflow.durable.waterfall_text import waterfall_text
from tests.unit.test_audit import run_of, sum_of_squares

TRACE = "t1"
START = 1_000.0


class Scribe:
    """Writes entries as the engine does, at chosen times."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self._sequence = count(1)

    def _write(self, key: Key, at: float, **fields: object) -> None:
        envelope = Envelope(tenant="t", flow="f", trace=TRACE, **fields)  # type: ignore[arg-type]
        self.stored.append(Stored(key, next(self._sequence), START + at, encode(envelope)))

    def ingress(self, identity: str, node: str, at: float = 0.0) -> None:
        key = Key(Kind.INGRESS, TRACE, input=identity)
        self._write(key, at, input=identity, outputs=(to(node),))

    def record(self, node: str, identity: str, at: float, *targets: str, **fields: object) -> str:
        """A record; returns what the next node knows its output by."""
        key = Key(Kind.RECORD, TRACE, node, identity)
        given = {"duration": 0.1, "worker": "host-1", "delivered": 1, **fields}
        outputs = (to(*targets),) if targets else ()
        self._write(key, at, node=node, input=identity, outputs=outputs, **given)
        return output_id(TRACE, node, identity, 0)

    def waterfall(self) -> Waterfall:
        return Waterfall.of(Books.of(TRACE, self.stored))


def to(*targets: str) -> Output:
    return Output(payload=b"\xc0", targets=targets)  # type: ignore[arg-type]


def chain() -> Scribe:
    """a at 1 s, b at 3 s after a redelivery, the end."""
    scribe = Scribe()
    scribe.ingress("i", "a")
    after = scribe.record("a", "i", 1.0, "b", duration=0.4)
    scribe.record("b", after, 3.0, EGRESS, worker="host-2", delivered=3, attempt=2, duration=0.5)
    return scribe


def fan(width: int, *, slow: int | None = None, again: tuple[int, ...] = ()) -> Scribe:
    """Many submissions into one node; one of them slow, some delivered again."""
    scribe = Scribe()
    for number in range(width):
        scribe.ingress(f"i{number}", "work", at=number / 1000)
    for number in range(width):
        delivered = 2 if number in again else 1
        at = 50.0 if number == slow else 1 + number / 1000
        scribe.record("work", f"i{number}", at, EGRESS, delivered=delivered)
    return scribe


def test_times_are_the_logs_and_only_the_work_is_the_workers_word() -> None:
    a, b = chain().waterfall().hops
    assert (a.node, a.wait, a.duration) == ("a", pytest.approx(0.6), pytest.approx(0.4))
    assert (b.node, b.wait, b.duration) == ("b", pytest.approx(1.5), pytest.approx(0.5))
    assert (b.worker, b.attempt, b.deliveries, b.is_redelivered) == ("host-2", 3, 3, True)
    assert (a.depth, a.parents, b.depth, b.parents) == (0, (), 1, (0,))


def test_a_worker_whose_clock_runs_ahead_cannot_have_begun_before_its_input() -> None:
    scribe = Scribe()
    scribe.ingress("i", "a")
    scribe.record("a", "i", 1.0, EGRESS, duration=7.0)
    hop = scribe.waterfall().hops[0]
    assert (hop.wait, hop.duration) == (0.0, pytest.approx(1.0))


def test_the_trace_begins_with_its_submission_and_ends_with_its_last_entry() -> None:
    waterfall = chain().waterfall()
    assert waterfall.status is TraceStatus.COMPLETED
    assert waterfall.seconds == pytest.approx(3.0)
    assert waterfall.workers == ("host-1", "host-2")


def test_an_input_without_a_record_waits() -> None:
    scribe = Scribe()
    scribe.ingress("i", "a")
    scribe.record("a", "i", 2.0, "b")
    waterfall = scribe.waterfall()
    assert [hop.outcome for hop in waterfall.hops] == ["ok", WAITING]
    assert waterfall.status is TraceStatus.RUNNING
    assert "1 waiting" in waterfall_text(waterfall)


async def test_a_join_has_all_its_inputs_as_parents_the_last_one_last() -> None:
    run = await run_of(sum_of_squares(3), 3)
    waterfall = Waterfall.of(Books.of(run.stored[0].key.trace, run.stored))
    assert [hop.node for hop in waterfall.hops] == ["split", *["square"] * 3, "join", "total"]
    join = waterfall.hops[4]
    assert (join.joined, sorted(join.parents), join.depth) == (3, [1, 2, 3], 2)
    last = max(waterfall.hops[1:4], key=lambda hop: hop.ended)
    assert join.parents[-1] == last.number
    assert waterfall.path_to(waterfall.hops[5]) == (0, last.number, 4, 5)


def test_a_failure_keeps_its_words() -> None:
    scribe = Scribe()
    scribe.ingress("i", "a")
    scribe.record("a", "i", 1.0, outcome="failed", error={"code": "X", "message": "<no>"})
    waterfall = scribe.waterfall()
    assert waterfall.hops[0].error == "X: <no>"
    assert "failed" in waterfall_text(waterfall)
    assert "X: &lt;no&gt;" in waterfall_fragment(waterfall)


# Folding


def shown(scribe: Scribe, limit: int | None = 8) -> tuple[list[int], list[int]]:
    """Numbers of the hops with a row of their own, and sizes of the folds."""
    rows = list(rows_of(scribe.waterfall(), limit=limit))
    alone = [row.number for row in rows if isinstance(row, Hop)]
    return alone, [len(row.hops) for row in rows if isinstance(row, Fold)]


def test_few_hops_are_all_shown() -> None:
    assert shown(fan(8)) == (list(range(8)), [])


def test_of_many_hops_the_slowest_and_every_redelivered_one_are_shown() -> None:
    alone, folds = shown(fan(100, slow=17, again=(3, 55)))
    assert alone == [3, 17, 55]
    assert folds == [97]


def test_all_are_shown_when_asked_for() -> None:
    assert shown(fan(100), limit=None) == (list(range(100)), [])


def test_a_fold_of_one_is_shown_as_itself() -> None:
    alone, folds = shown(fan(10, again=tuple(range(8))))
    assert (len(alone), folds) == (10, [])


def test_a_fold_says_how_many_and_from_when_to_when() -> None:
    text = waterfall_text(fan(100).waterfall())
    line = next(line for line in text.splitlines() if line.startswith("work (9"))
    assert "100 ms to 100 ms" in line


# Text


@pytest.mark.parametrize("columns", [40, 80, 100, 200, 400])
def test_rows_are_aligned_and_keep_the_width(columns: int) -> None:
    scribe = fan(100, slow=17, again=(3,))
    text = waterfall_text(scribe.waterfall(), columns=columns, labels={("work", "i17"): "x" * 99})
    rows = [line for line in text.splitlines() if "│" in line]
    assert {line.index("│") for line in rows} == {rows[0].index("│")}
    assert {len(line) for line in rows} == {len(rows[0])}
    # Figures and the shortest bar take their room, whatever the terminal says.
    assert len(rows[0]) <= max(columns, 72)


def test_a_redelivered_hop_is_marked_and_the_mark_is_explained() -> None:
    text = waterfall_text(chain().waterfall())
    assert "3 ↻3" in text
    assert text.endswith("↻ delivered again, after its worker died or was too slow")
    assert "w1 host-1  w2 host-2" in text


def test_many_workers_are_named_on_as_many_lines_as_it_takes() -> None:
    scribe = Scribe()
    for number in range(40):
        scribe.ingress(f"i{number}", "work")
        scribe.record("work", f"i{number}", 1.0, EGRESS, worker=f"some-host-{number}-abcdef")
    text = waterfall_text(scribe.waterfall(), columns=80)
    legend = [line for line in text.splitlines() if "some-host" in line]
    assert len(legend) > 5
    assert max(map(len, legend)) <= 80
    assert "w40 some-host-39-abcdef" in legend[-1]


def test_a_plain_terminal_gets_plain_signs() -> None:
    text = waterfall_text(fan(100, again=(3,)).waterfall(), ascii_only=True)
    assert text.isascii()


def test_bars_follow_the_time() -> None:
    a, b = (line for line in waterfall_text(chain().waterfall()).splitlines()[2:4])
    bar_a, bar_b = a.split("│")[1], b.split("│")[1]
    assert bar_a.lstrip(" ")[0] == "·"
    assert bar_a.rstrip()[-1] == "█"
    assert len(bar_a.rstrip()) == pytest.approx(len(bar_a) / 3, abs=1.01)
    assert bar_b.rstrip()[-1] == "█"
    assert len(bar_b.rstrip()) == len(bar_b)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 ms"),
        (0.00123, "1.2 ms"),
        (0.0449, "45 ms"),
        (0.9, "900 ms"),
        (1.234, "1.23 s"),
        (12.34, "12.3 s"),
        (123.4, "123 s"),
        (6000, "100 min"),
    ],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_an_empty_trace_can_be_shown() -> None:
    waterfall = Waterfall.of(Books.of(TRACE, []))
    assert "0 hops" in waterfall_text(waterfall)
    assert "0 hops" in waterfall_page(waterfall)


# HTML


class Checker(HTMLParser):
    """Counts rows and folds, and finds what is opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.loads += [f"{name}={value}" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    checker = Checker()
    checker.feed(waterfall_page(fan(100, slow=17, again=(3,)).waterfall()))
    assert checker.open == []
    assert checker.loads == []
    assert "script" not in checker.seen
    assert checker.seen.count("details") == 1
    # one row per hop, and a head for each of the two tables
    assert checker.seen.count("tr") == 100 + 2


def test_texts_from_outside_are_escaped() -> None:
    scribe = Scribe()
    scribe.ingress("i", "<b>")
    scribe.record("<b>", "i", 1.0, EGRESS, worker='"><script>')
    page = waterfall_page(scribe.waterfall(), labels={("<b>", "i"): "<img>"})
    for bad in ("<b>", "<script>", "<img>"):
        assert bad not in page


def test_a_table_row_says_when_it_starts_to_those_who_see_no_bars() -> None:
    assert "starts after 600 ms" in waterfall_fragment(chain().waterfall())
