"""The engine's contract runs in memory, on a real server, and over bad lines.

On a bad line to the server every tenth call of the client library fails, before or after it took
effect; on a bad line to the log in memory every tenth call of a worker to the log itself does.
All tests over all bad lines are long, and run in `make chaos`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.contract.engine.houses import House, MemoryHouse, NatsHouse

HOUSES: dict[str, Callable[[], MemoryHouse | NatsHouse]] = {
    "memory": MemoryHouse,
    "memory, bad line 1": lambda: MemoryHouse(1),
    "memory, bad line 2": lambda: MemoryHouse(2),
    "nats": NatsHouse,
    "nats, bad line 1": lambda: NatsHouse(1),
    "nats, bad line 2": lambda: NatsHouse(2),
    "nats, bad line 3": lambda: NatsHouse(3),
}
SHORT = {"test_joins", "test_chunks", "test_cancel"}
"""What runs over the first bad line to the server in every run; the rest does in the long ones."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of what bad lines make long to the long runs."""
    for item in items:
        house = getattr(item, "callspec", None) and item.callspec.params.get("house", "")  # type: ignore[attr-defined]
        if not house or "bad line" not in house:
            continue
        item.add_marker(pytest.mark.chaos)
        if house != "nats, bad line 1" or item.path.stem not in SHORT:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=list(HOUSES))
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    opened = HOUSES[request.param]()
    if isinstance(opened, NatsHouse):
        await opened.start()
    yield opened
    await opened.close()
