"""The pages of the census: right figures, sound HTML, nothing from elsewhere, names escaped."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "examples" / "stdlib_census"))

import census_direct
from census_collect import collect
from census_html import render_html
from census_metrics import combine, measure
from census_models import PackageMetrics, PackageReport, SourceFile
from census_plot import is_test_package, package_bars, package_scatter
from census_report import render_markdown, write_report
from census_summary import count, report_on, summarise, summary_sentences, summary_words

VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})
HOSTILE = 'a&b<script>alert("x")</script>'


def package(name: str, *sources: str) -> PackageMetrics:
    files = [
        SourceFile(package=name, path=f"{name}/m{number}.py", files_in_package=len(sources))
        for number in range(len(sources))
    ]
    return combine(
        measure(file, source.encode()) for file, source in zip(files, sources, strict=True)
    )


BRANCHY = "def outer(a):\n    def inner(b):\n" + "        if b: pass\n" * 30 + "    return inner\n"


@pytest.fixture
def reports() -> list[PackageReport]:
    metrics = [
        package("small", "x = 1\n"),
        package("branchy", BRANCHY, "# only a comment\n", "class A: pass\n"),
        package("bad", "print 'old'\n"),
        package("data.tests", "\n".join(f"x{n} = {n}" for n in range(1234))),
        package(HOSTILE, "def f(): pass\n"),
    ]
    return [report_on(m) for m in metrics]


class Balance(HTMLParser):
    """Fails at a tag that is closed in the wrong order; keeps what the tests ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> after {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for seen, attrs in self.seen if seen == tag]


def parsed(html: str) -> Balance:
    page = Balance()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_balanced_and_accessible(reports: list[PackageReport]) -> None:
    page = parsed(render_html(collect(reports, python="3.99")))
    assert page.all("html") == [{"lang": "en"}]
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert all(th["scope"] in {"col", "row"} for th in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 4
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {str(a["href"]).removeprefix("#") for a in page.all("a")} <= set(ids)


def test_the_page_needs_nothing_from_elsewhere(reports: list[PackageReport]) -> None:
    html = render_html(collect(reports, python="3.99"))
    page = parsed(html)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.seen}
    assert not any(name in attrs for _, attrs in page.seen for name in ("src", "onload", "style"))
    assert "url(" not in html
    assert "@import" not in html
    addresses = set(re.findall(r"https?://[^\"' )]+", html))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a vocabulary, never fetched
    assert "prefers-color-scheme: dark" in html


def test_the_page_holds_the_figures(reports: list[PackageReport]) -> None:
    page = parsed(render_html(collect(reports, python="3.99")))
    text = " ".join(piece.strip() for piece in page.text if piece.strip())
    for fragment in (
        "Census of the Python 3.99 standard library",
        "packages 5 files 7 lines 1,271",
        "31 outer.<locals>.inner branchy/m0.py:2",
        "1,234 data.tests/m0.py",
        "branchy 3 34 1 2 1 32 31",
        "bad/m0.py SyntaxError: Missing parentheses",
    ):
        assert fragment in text


def test_names_are_escaped_everywhere(reports: list[PackageReport]) -> None:
    html = render_html(collect(reports, python='3<"&'))
    assert "<script" not in html
    assert "a&amp;b&lt;script&gt;" in html
    assert "Python 3&lt;&quot;&amp; standard" in html


def test_a_trace_goes_in_as_it_is_and_only_when_there_is_one(reports: list[PackageReport]) -> None:
    census = collect(reports)
    assert "One trace" not in render_html(census)
    page = parsed(render_html(census, trace_fragment='<svg role="img" aria-label="t"><g/></svg>'))
    assert "One trace" in page.text
    assert {"role": "img", "aria-label": "t"} in page.all("svg")


def test_the_order_of_arrival_does_not_show(reports: list[PackageReport], tmp_path: Path) -> None:
    one = write_report(reports, tmp_path / "one" / "deep", python="3.99")
    two = write_report(reversed(reports), tmp_path / "two", python="3.99")
    assert one.html.read_bytes() == two.html.read_bytes()
    assert one.markdown.read_bytes() == two.markdown.read_bytes()


def test_markdown_holds_the_figures_and_its_tables_are_rectangular(
    reports: list[PackageReport],
) -> None:
    text = render_markdown(collect(reports, python="3.99"))
    assert "| lines | 1,271 |" in text
    assert "| 31 | `outer.<locals>.inner` | `branchy/m0.py:2` |" in text
    assert "| `branchy` | 3 | 34 | 1 | 2 | 1 | 32 | 31 |" in text
    assert "\\<locals\\>" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_an_empty_census_is_a_page_too() -> None:
    census = collect([], python="3.99")
    parsed(render_html(census))
    assert "None." in render_markdown(census)


def test_plots_show_every_package_with_its_figures(reports: list[PackageReport]) -> None:
    metrics = [report.metrics for report in reports]
    scatter, bars = parsed(package_scatter(metrics)), parsed(package_bars(metrics))
    assert len(scatter.all("circle")) == len(metrics)
    tooltip = "branchy: 34 code lines, complexity 32 in 2 functions, 3 files"
    assert tooltip in scatter.text
    assert tooltip in bars.text
    widths = {float(str(r["width"])) for r in bars.all("rect") if r.get("class") == "tests"}
    assert max(widths) == 670.0
    positions = [float(str(c[axis])) for c in scatter.all("circle") for axis in ("cx", "cy")]
    assert all(0 < position < 960 for position in positions)


@pytest.mark.parametrize(
    ("name", "tests"),
    [("test", True), ("test.support", True), ("idlelib.idle_test", True), ("unittest", False)],
)
def test_test_packages_are_known_by_name(name: str, tests: bool) -> None:
    assert is_test_package(name) is tests


def test_a_summary_says_what_the_figures_say(reports: list[PackageReport]) -> None:
    assert list(summary_sentences(reports[1].metrics)) == [
        "branchy consists of 3 files with 34 lines of code.",
        "It defines 2 functions and 1 class; the mean complexity is 16.0.",
        "One to read with care is outer.<locals>.inner in branchy/m0.py: its complexity is 31.",
        "Its largest module is branchy/m0.py with 97% of the code.",
        "It has one comment line for every 34 lines of code.",
    ]
    assert summarise(reports[2].metrics) == (
        "bad consists of 1 file with no lines of code. "
        "bad/m0.py could not be parsed and is not in these figures."
    )


def test_streamed_words_are_the_summary(reports: list[PackageReport]) -> None:
    for report in reports:
        words = list(summary_words(report.metrics))
        assert "".join(words) == report.summary
        assert len(words) == len(report.summary.split())


def test_counts_read_as_words() -> None:
    assert [count(n, "class", "classes") for n in (0, 1, 1234)] == [
        "no classes",
        "1 class",
        "1,234 classes",
    ]


def test_the_direct_census_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "os.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setenv("CENSUS_ROOT", str(tmp_path / "tree"))
    assert census_direct.main([str(tmp_path / "out"), "--limit", "1"]) == 0
    assert "1 packages, 1 files, 1 lines, 0 not parsed" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.md").is_file()
