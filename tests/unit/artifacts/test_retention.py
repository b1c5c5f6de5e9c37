"""Limits of the store in memory."""

from __future__ import annotations

from typing import Any

import pytest

from penguiflow.artifacts import ArtifactRetentionConfig, ArtifactScope, InMemoryArtifactStore
from penguiflow.testing import VirtualClock

SESSION = ArtifactScope(session_id="session")
TRACE = ArtifactScope(session_id="session", trace_id="trace")
OTHER_TRACE = ArtifactScope(session_id="session", trace_id="other")


def store_with(clock: VirtualClock | None = None, **limits: Any) -> InMemoryArtifactStore:
    return InMemoryArtifactStore(ArtifactRetentionConfig(**limits), clock=clock or VirtualClock())


async def put(
    store: InMemoryArtifactStore, *texts: str, scope: ArtifactScope | None = None
) -> list[str]:
    return [(await store.put_text(text, scope=scope)).id for text in texts]


async def texts_in(store: InMemoryArtifactStore) -> list[str]:
    refs = await store.list()
    return [(await store.get(ref.id) or b"").decode() for ref in refs]


# ---- time ----------------------------------------------------------------------------------------


async def test_artifact_is_gone_after_its_time() -> None:
    clock = VirtualClock()
    store = store_with(clock, ttl_seconds=10)
    (gone,) = await put(store, "old")
    await clock.advance(9)
    await put(store, "young")
    assert await store.exists(gone)
    await clock.advance(1)
    assert await store.get(gone) is None
    assert await store.get_ref(gone) is None
    assert not await store.exists(gone)
    assert not await store.delete(gone)
    assert await texts_in(store) == ["young"]
    assert (store.count, store.total_bytes) == (1, 5)


@pytest.mark.parametrize("ttl", [0, -1])
async def test_without_a_time_an_artifact_stays(ttl: float) -> None:
    clock = VirtualClock()
    store = store_with(clock, ttl_seconds=ttl)
    (kept,) = await put(store, "text")
    await clock.advance(10**9)
    assert await store.exists(kept)


async def test_artifact_stored_again_has_its_whole_time_again() -> None:
    clock = VirtualClock()
    store = store_with(clock, ttl_seconds=10)
    await put(store, "other")
    await put(store, "text")
    await clock.advance(9)
    (kept,) = await put(store, "text")
    await clock.advance(9)
    assert await store.exists(kept)
    assert store.count == 1


# ---- size and number -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "scope"),
    [("max_artifact_bytes", None), ("max_session_bytes", None), ("max_trace_bytes", TRACE)],
)
async def test_artifact_that_never_fits_is_refused_and_costs_nobody_anything(
    limit: str, scope: ArtifactScope | None
) -> None:
    store = store_with(**{limit: 10})
    await put(store, "12345", scope=scope)
    with pytest.raises(ValueError, match=r"11 bytes\)? exceeds"):
        await put(store, "12345678901", scope=scope)
    assert await texts_in(store) == ["12345"]


async def test_session_keeps_at_most_its_number() -> None:
    store = store_with(max_artifacts_per_session=2)
    await put(store, "a", "b", "c", scope=SESSION)
    assert await texts_in(store) == ["b", "c"]


async def test_session_keeps_at_most_its_bytes() -> None:
    store = store_with(max_session_bytes=5)
    await put(store, "aa", "bb", "ccc", scope=SESSION)
    assert await texts_in(store) == ["bb", "ccc"]


async def test_artifacts_without_a_scope_share_a_limit() -> None:
    store = store_with(max_artifacts_per_session=2)
    await put(store, "a", "b", "c")
    assert await texts_in(store) == ["b", "c"]


async def test_limit_of_artifacts_per_trace_is_not_ignored() -> None:
    store = store_with(max_artifacts_per_trace=2)
    await put(store, "other", scope=OTHER_TRACE)
    await put(store, "a", "b", "c", scope=TRACE)
    assert await texts_in(store) == ["other", "b", "c"]


async def test_limit_of_bytes_per_trace_is_not_ignored() -> None:
    store = store_with(max_trace_bytes=5)
    await put(store, "other", scope=OTHER_TRACE)
    await put(store, "aa", "bb", "ccc", scope=TRACE)
    assert await texts_in(store) == ["other", "bb", "ccc"]


async def test_limit_per_trace_is_none_of_artifacts_without_a_trace() -> None:
    store = store_with(max_artifacts_per_trace=1)
    await put(store, "a", "b", scope=SESSION)
    assert await texts_in(store) == ["a", "b"]


async def test_session_does_not_push_out_another_sessions_artifacts() -> None:
    store = store_with(max_artifacts_per_session=1)
    for session in ("one", "two"):
        for tenant in ("a", "b"):
            scope = ArtifactScope(tenant_id=tenant, session_id=session)
            await put(store, f"{tenant}{session}", scope=scope)
    assert store.count == 4


# ---- who goes ------------------------------------------------------------------------------------


async def test_least_recently_used_artifact_goes() -> None:
    store = store_with(max_artifacts_per_session=2, cleanup_strategy="lru")
    first, _ = await put(store, "a", "b")
    await store.get(first)
    await put(store, "c")
    assert await texts_in(store) == ["a", "c"]


async def test_artifact_stored_again_counts_as_used() -> None:
    store = store_with(max_artifacts_per_session=2)
    await put(store, "a", "b", "a", "c")
    assert await texts_in(store) == ["a", "c"]


async def test_looking_at_a_reference_is_no_use() -> None:
    store = store_with(max_artifacts_per_session=2)
    first, _ = await put(store, "a", "b")
    await store.get_ref(first)
    await store.exists(first)
    await put(store, "c")
    assert await texts_in(store) == ["b", "c"]


async def test_fifo_is_not_treated_as_lru() -> None:
    store = store_with(max_artifacts_per_session=2, cleanup_strategy="fifo")
    first, _ = await put(store, "a", "b")
    await store.get(first)
    await put(store, "a", "c")
    assert await texts_in(store) == ["b", "c"]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_artifacts_per_session": 2}, "the session is full"),
        ({"max_session_bytes": 2}, "the session is full"),
        ({"max_artifacts_per_trace": 2}, "the trace is full"),
        ({"max_trace_bytes": 2}, "the trace is full"),
    ],
)
async def test_without_clean_up_the_new_artifact_is_refused(
    limit: dict[str, int], message: str
) -> None:
    store = store_with(cleanup_strategy="none", **limit)
    await put(store, "a", "b", scope=TRACE)
    with pytest.raises(ValueError, match=message):
        await put(store, "c", scope=TRACE)
    assert await put(store, "a", scope=TRACE) == [(await store.list())[0].id]
    assert await texts_in(store) == ["a", "b"]


async def test_room_of_a_deleted_artifact_is_free_again() -> None:
    store = store_with(cleanup_strategy="none", max_artifacts_per_trace=1)
    (first,) = await put(store, "a", scope=TRACE)
    await store.delete(first)
    await put(store, "b", scope=TRACE)
    assert await texts_in(store) == ["b"]


async def test_evicting_for_a_session_also_makes_room_in_the_trace() -> None:
    store = store_with(max_artifacts_per_session=2, max_artifacts_per_trace=1)
    await put(store, "a", scope=TRACE)
    await put(store, "b", scope=OTHER_TRACE)
    await put(store, "c", scope=TRACE)
    assert await texts_in(store) == ["b", "c"]
