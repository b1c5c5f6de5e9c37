"""Limits by number: how many traces a bucket holds, and how many entries one trace or session."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from penguiflow_nats.claims import CLAIM
from penguiflow_nats.kv import KeyValue
from penguiflow_nats.series import SeriesReader
from penguiflow_nats.state_room import StateRoom
from penguiflow_nats.state_settings import StateRetention

_BLOCK = 256

Buried = Callable[[str, int], Awaitable[None]]
"""Told, before they go, of which trace how many events go; tokens of trace and tenant."""


async def trim_all(room: StateRoom, each: Callable[..., Awaitable[int]], bury: Buried) -> int:
    """Apply the limits per trace and per session; gives how many entries went.

    Args:
        room: The bucket.
        each: Runs an action for many items, some at once, and adds up what they give.
        bury: Told of the events that go.
    """
    kv, limits = await room.open(), room.retention
    gone = 0
    for kind, depth, most in _limited(limits):
        if most is None:
            continue
        places = {".".join(key.split(".")[1 : 1 + depth]) for key in await kv.keys(f"{kind}.>")}
        told = bury if kind == "ev" else None

        async def trim(
            place: str, kind: str = kind, most: int = most, told: Buried | None = told
        ) -> int:
            series = f"{kind}.{place}" if kind in ("ev", "pe") else f"{kind}.{place}.*"
            return await _trim(room, kv, series, most, place, told)

        gone += await each(trim, places)
    return gone


def _limited(limits: StateRetention) -> list[tuple[str, int, int | None]]:
    """(first token, tokens that name what is limited, limit)."""
    return [
        ("ev", 2, limits.max_events_per_trace),
        ("pe", 1, limits.max_planner_events_per_trace),
        ("up", 1, limits.max_updates_per_session),
        ("st", 1, limits.max_steering_events_per_session),
    ]


async def _trim(  # noqa: PLR0917 - what is trimmed, to what, and who is told
    room: StateRoom, kv: KeyValue, series: str, most: int, place: str, bury: Buried | None
) -> int:
    """Remove the oldest entries of a series beyond a number; gives how many went."""
    if len(await kv.keys(f"{series}.>")) <= most:  # counts markers as well: at least as many
        return 0
    newest: deque[int] = deque(maxlen=most)
    large, total = [], 0
    reader = SeriesReader(kv, series)
    while not reader.ended:
        for entry in await reader.take(_BLOCK):
            total += 1
            newest.append(entry.revision)
            if CLAIM in entry.headers:
                large.append(entry)
    if total <= most:
        return 0
    if bury is not None:
        await bury(place, total - most)
    cut = newest[0]
    for entry in large:
        if entry.revision < cut:
            await room.claims.release(entry)
    await kv.purge(f"{series}.>", below=cut)
    return total - most


__all__ = ["trim_all"]
