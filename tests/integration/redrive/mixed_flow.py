"""A flow that workers of two versions host."""

from __future__ import annotations

from typing import Any

from tests.support.flows import chain, node


async def twice(value: Any, ctx: Any) -> Any:
    return value * 2


flow = chain(node(twice, "twice"), name="mixed")
