"""Tokens and derived ids: always legal, never shared, the same on every machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penguiflow.durable.tokens import HASHED, derive, is_token, token, trace_token

LEGAL = "ABCXYZabcxyz0189_-"
any_text = st.text(st.characters(codec=None), max_size=200)
legal_text = st.text(LEGAL, min_size=1, max_size=64)
near_text = st.one_of(any_text, legal_text, st.builds(HASHED.__add__, legal_text))
parts = st.lists(st.one_of(st.text(max_size=12), st.integers()), max_size=5)


@given(near_text)
def test_every_text_has_a_legal_token(text: str) -> None:
    assert is_token(token(text))


@given(legal_text.filter(lambda text: not text.startswith(HASHED)))
def test_legal_text_stays_as_it_is(text: str) -> None:
    assert token(text) == text


@given(near_text, near_text)
def test_two_texts_never_share_a_token(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)


@given(any_text)
def test_a_hashed_token_is_nobody_elses_text(text: str) -> None:
    hashed = token(text + ".")
    assert hashed.startswith(HASHED)
    assert token(hashed) != hashed


def test_a_text_that_only_ends_differently_gets_another_token() -> None:
    long = "x" * 64
    assert token(long) == long
    assert len({token(long + "y"), token(long + "z"), token(long + "\n")}) == 3


def test_a_newline_at_the_end_is_not_overlooked() -> None:
    assert not is_token("abc\n")
    assert not is_token("")


def test_a_hashed_token_shows_how_the_text_begins() -> None:
    assert token("order 17/b").startswith("_h_order_17_b-")


def test_tokens_and_ids_are_the_same_everywhere() -> None:
    """They name entries that outlive a release, so their derivation must never change."""
    assert token("orders.eu") == "_h_orders_eu-e7951fa760b4f1d8b56b277075186e4f"
    assert trace_token("a trace") == token("a trace")
    assert derive("tenant", "trace", "node", 0) == "dfc3efaad2eeb37b7bd182fa6567eece"


@given(parts, parts)
def test_ids_differ_when_their_parts_differ(one: list[str | int], other: list[str | int]) -> None:
    same = [(type(part), part) for part in one] == [(type(part), part) for part in other]
    assert (derive(*one) == derive(*other)) == same


@given(parts)
def test_an_id_is_32_hex_digits(some: list[str | int]) -> None:
    derived = derive(*some)
    assert len(derived) == 32
    assert set(derived) <= set("0123456789abcdef")
    assert is_token(derived)


def test_parts_do_not_flow_into_each_other() -> None:
    assert derive("a", "bc") != derive("ab", "c")
    assert derive("a") != derive("a", "")
    assert derive("1") != derive(1)
