"""Times that a user writes, and texts that are shown again in place."""

from __future__ import annotations

import os
import shutil

import pytest

from penguiflow_nats.commands.period import moment, period
from penguiflow_nats.commands.trace import Screen


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 910.0),
        ("1.5m", 910.0),
        ("1970-01-01T00:15:00Z", 900.0),
        ("1970-01-01T02:15:00+02:00", 900.0),
        ("1970-01-01 00:15", 900.0),
        ("1970-01-02", 86400.0),
    ],
)
def test_moment(text: str, seconds: float) -> None:
    assert moment(text).at(1000.0) == seconds


@pytest.mark.parametrize("text", ["yesterday", "-5m", "5 minutes", ""])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="how long ago"):
        moment(text)


def test_period_has_its_beginning_and_not_its_end() -> None:
    both = period(moment("10s"), moment("5s"), now=100.0)
    assert [seconds in both for seconds in (89.9, 90.0, 94.9, 95.0)] == [False, True, True, False]
    assert 1e9 in period(None, None, now=0.0)


def test_terminal_is_overwritten_and_a_file_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = os.terminal_size((100, 5))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda _: size)
    screen = Screen(in_place=True)
    screen.show("a\nb")
    screen.show("c\nd\ne\nf\ng")
    assert capsys.readouterr().out == "a\nb\n\x1b[2F\x1b[Jc\nd\ne\n... and 2 more lines\n"
    screen = Screen(in_place=False)
    screen.show("a\nb")
    screen.show("c")
    assert capsys.readouterr().out == "a\nb\n\nc\n"
