"""The engine's contract runs in memory, on a real server, and over bad lines.

On a bad line to the server every tenth call of the client library fails, before or after it took
effect; on a bad line to the log in memory every tenth call of a worker to the log itself does.
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
LONG = [pytest.mark.chaos, pytest.mark.slow]
PARAMS = [pytest.param(name, marks=LONG if name.endswith((" 2", " 3")) else ()) for name in HOUSES]


@pytest.fixture(params=PARAMS)
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    opened = HOUSES[request.param]()
    if isinstance(opened, NatsHouse):
        await opened.start()
    yield opened
    await opened.close()
