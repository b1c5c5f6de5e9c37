"""Each flow that a test runs is stopped at its end, and no task outlives the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from penguiflow import ModelRegistry, PenguiFlow

Run = Callable[..., PenguiFlow]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    started: list[PenguiFlow] = []
    before = asyncio.all_tasks()

    def start(flow: PenguiFlow, registry: ModelRegistry | None = None) -> PenguiFlow:
        flow.run(registry=registry)
        started.append(flow)
        return flow

    yield start
    for flow in started:
        await flow.stop()
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks outlive the test: {left}"
