"""What the contract classes have in common.

A contract class is a pytest class without the word Test in its name. Whoever implements a protocol
subclasses it, says how to make an instance, and runs the tests with `asyncio_mode = "auto"`:

    class TestMyStore(StateStoreContract, TasksContract):
        async def make_store(self):
            return await MyStore.connect(...)

        async def close_store(self, store):
            await store.close()

Tests use fresh ids, so that all of them may run on one server without cleaning up in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4


class Contract:
    """A set of promises, each a test."""

    async def make_store(self) -> Any:
        """A new instance to test; override this.

        Raises:
            NotImplementedError: it was not overridden.
        """
        msg = f"{type(self).__name__} must define `async def make_store(self)`"
        raise NotImplementedError(msg)

    async def close_store(self, store: Any) -> None:
        """Called after each test; override it when there is something to close."""

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Any]:
        """The instance of one test."""
        store = await self.make_store()
        try:
            yield store
        finally:
            await self.close_store(store)


def check(holds: bool, promise: str) -> None:
    """Fail unless the promise holds.

    A function and not a statement, so that the promises are also checked under `python -O`, and
    explain themselves where pytest does not rewrite assertions.

    Raises:
        AssertionError: it does not hold.
    """
    if not holds:
        raise AssertionError(promise)


def check_equal(actual: Any, expected: Any, promise: str) -> None:
    """Fail unless both are equal.

    Raises:
        AssertionError: they differ; the message shows both.
    """
    if actual != expected:
        msg = f"{promise}\n  expected: {expected!r}\n  actual:   {actual!r}"
        raise AssertionError(msg)


def only(items: Sequence[Any], promise: str) -> Any:
    """The one item there is.

    Raises:
        AssertionError: there is none, or more than one.
    """
    check_equal(len(items), 1, promise)
    return items[0]


def fresh(name: str) -> str:
    """An id that nobody has used before."""
    return f"{name}-{uuid4().hex}"
