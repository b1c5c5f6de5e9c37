"""Options that may also be given by the environment, and say so in the help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any


class FromEnvironment(str):
    """The value of a variable that stands in for an option."""

    __slots__ = ("variable",)

    variable: str

    def __new__(cls, variable: str, value: str) -> FromEnvironment:
        made = super().__new__(cls, value)
        made.variable = variable
        return made


def option(
    parser: argparse.ArgumentParser,
    flag: str,
    *,
    env: str,
    help: str,
    type: Callable[[str], Any] = str,
    default: Any = None,
    metavar: str | None = None,
) -> None:
    """Add an option whose default is a variable of the environment, if that is set.

    Args:
        parser: Where to add it.
        flag: Its name, as "--tenant".
        env: The variable.
        help: What it is; variable and default are added.
        type: Turns the text into the value; raises `ValueError` with a sentence about it.
        default: The value when neither is given.
        metavar: What the value is called in the help.
    """
    known = f"[env {env}" + (f", default {default}]" if default not in (None, "") else "]")
    given = os.environ.get(env)
    parser.add_argument(
        flag,
        type=_checked(type),
        default=FromEnvironment(env, given) if given else default,
        metavar=metavar,
        help=f"{help} {known}".replace("%", "%%"),
    )


def _checked(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Says where a bad value came from: argparse would blame the option in both cases."""

    def checked(text: str) -> Any:
        try:
            # The plain text: what is kept must not depend on where it came from.
            return convert(str(text))
        except ValueError as error:
            where = f" (from {text.variable})" if isinstance(text, FromEnvironment) else ""
            msg = f"{str(text)!r}{where}: {error}"
            raise argparse.ArgumentTypeError(msg) from error

    return checked


def seconds(text: str) -> float:
    """A positive number of seconds."""
    value = _number(text, "a number of seconds")
    if not 0 < value < float("inf"):
        msg = "must be more than 0"
        raise ValueError(msg)
    return value


def patience(text: str) -> float:
    """A number of seconds to wait; 0 is not to wait at all."""
    value = _number(text, "a number of seconds")
    if not 0 <= value < float("inf"):
        msg = "must not be negative"
        raise ValueError(msg)
    return value


def per_second(text: str) -> float:
    """A positive number of times a second."""
    value = _number(text, "a number a second")
    if not 0 < value < float("inf"):
        msg = "must be more than 0"
        raise ValueError(msg)
    return value


def count(text: str) -> int:
    """A positive whole number."""
    if not text.strip().isdecimal() or int(text) < 1:
        msg = "must be a whole number of at least 1"
        raise ValueError(msg)
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        msg = "must be at least one name"
        raise ValueError(msg)
    return found


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"must be {what}"
        raise ValueError(msg) from None


__all__ = ["FromEnvironment", "count", "names", "option", "patience", "per_second", "seconds"]
