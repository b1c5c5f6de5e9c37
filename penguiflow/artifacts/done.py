"""The result of a method that is done when it returns."""

from __future__ import annotations

from collections.abc import Generator


class Done:
    """May be awaited, and need not be.

    So that code which treats every method of a store as async can also await the immediate ones.
    """

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


DONE = Done()
