"""The page of a waterfall in a real browser: it stands alone, is read and used by keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penguiflow.durable.waterfall_html import waterfall_page
from tests.browser.chromium import BrowserMissing, Page, find_chromium, open_browser
from tests.unit.test_waterfall import fan

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(180)]

WIDTH = 10_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    file = folder / "trace.html"
    file.write_text(waterfall_page(fan(WIDTH, slow=7, again=(3, 4)).waterfall()))
    with open_browser(folder) as opened:
        opened.open(file)
        yield opened


@pytest.fixture(autouse=True)
def _from_the_top(page: Page) -> None:
    page.value(
        "document.querySelectorAll('details').forEach(d => d.open = false);"
        "document.activeElement.blur(); scrollTo(0, 0)"
    )


def test_ten_thousand_hops_are_a_page_of_a_few_lines(page: Page) -> None:
    shown = page.value(
        "[...document.querySelectorAll('tbody tr')].filter(r => r.checkVisibility()).length"
    )
    assert 3 <= shown <= 30
    assert "10000" in page.value("document.body.innerText").replace(",", "")
    assert page.value("document.documentElement.scrollHeight < 3000")


def test_what_matters_is_shown_and_the_rest_is_behind_one_line(page: Page) -> None:
    text = page.value("document.body.innerText")
    assert text.count("delivered 2 times") == 2
    summaries = page.value("[...document.querySelectorAll('summary')].map(s => s.innerText).join()")
    assert "more hops" in summaries
    assert page.value("document.querySelectorAll('tbody tr').length") == WIDTH


def test_the_keyboard_reaches_what_is_folded_and_opens_it(page: Page) -> None:
    for _ in range(20):
        page.press("Tab")
        if page.value("document.activeElement.tagName") == "SUMMARY":
            break
    assert page.value("document.activeElement.tagName") == "SUMMARY"
    page.press("Enter", "\r")
    assert page.value("document.activeElement.parentElement.open")
    assert page.value(
        "document.activeElement.parentElement.querySelector('tbody tr').checkVisibility()"
    )
    page.press(" ", " ")
    assert not page.value("document.activeElement.parentElement.open")


def test_where_the_keyboard_is_can_be_seen(page: Page) -> None:
    for _ in range(20):
        page.press("Tab")
        if page.value("document.activeElement.tagName") == "SUMMARY":
            break
    style = page.value("getComputedStyle(document.activeElement).outlineStyle")
    assert style not in ("none", "")


def test_with_all_open_it_is_laid_out_and_still_answers(page: Page) -> None:
    page.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.value("document.documentElement.scrollHeight > 100000")
    page.value("scrollTo(0, document.documentElement.scrollHeight)")
    last = "[...document.querySelectorAll('tbody tr')].at(-1)"
    assert page.value(f"{last}.getBoundingClientRect().top < innerHeight")
    # Nothing hangs over the edge: on a page of this width nobody scrolls sideways.
    assert page.value("document.documentElement.scrollWidth <= innerWidth")


def test_bars_lie_within_their_lane(page: Page) -> None:
    outside = page.value(
        "[...document.querySelectorAll('.pf-lane')].filter(l => l.checkVisibility()).flatMap("
        "l => [...l.children].map(b => [l.getBoundingClientRect(), b.getBoundingClientRect()]))"
        ".filter(([l, b]) => b.left < l.left - 1 || b.right > l.right + 3).length"
    )
    assert outside == 0


def test_it_stands_alone(page: Page) -> None:
    assert page.value("performance.getEntriesByType('resource').length") == 0
    assert page.value("document.scripts.length") == 0
    assert page.value("document.documentElement.lang") == "en"
    assert page.value(
        "[...document.querySelectorAll('th')].every(t => ['row', 'col'].includes(t.scope))"
    )


def test_without_a_browser_it_fails_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM_BIN", "/nowhere/chromium")
    with pytest.raises(BrowserMissing, match="install Chromium"):
        find_chromium()
