"""The engine's contract runs in memory and on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.engine.houses import House, MemoryHouse, NatsHouse


@pytest.fixture(params=["memory", "nats"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    opened: MemoryHouse | NatsHouse
    if request.param == "memory":
        opened = MemoryHouse()
    else:
        opened = NatsHouse()
        await opened.start()
    yield opened
    await opened.close()
