"""Telemetry is tried in memory and on a real server; over bad lines nobody knows how many spans
there are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.engine.houses import House, MemoryHouse, NatsHouse


@pytest.fixture(params=["memory", "nats"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    opened = MemoryHouse() if request.param == "memory" else NatsHouse()
    if isinstance(opened, NatsHouse):
        await opened.start()
    yield opened
    await opened.close()
