"""Asking a store what it can do."""

from __future__ import annotations

from collections.abc import Iterable


def missing_capabilities(store: object, methods: Iterable[str]) -> list[str]:
    """The methods that the store lacks, in the order in which they were asked for."""
    return [name for name in methods if not callable(getattr(store, name, None))]


def require_capabilities(store: object, *, feature: str, methods: Iterable[str]) -> None:
    """Make sure that the store has all methods that a feature needs.

    Raises:
        TypeError: it lacks some; the message names them and the feature.
    """
    missing = missing_capabilities(store, methods)
    if missing:
        msg = f"StateStore missing {missing} required for feature={feature}"
        raise TypeError(msg)


__all__ = ["missing_capabilities", "require_capabilities"]
