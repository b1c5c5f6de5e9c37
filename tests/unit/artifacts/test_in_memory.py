"""What the stores in memory do beyond the contract that they keep."""

from __future__ import annotations

import pytest

from penguiflow.artifacts import (
    ArtifactScope,
    InMemoryArtifactStore,
    NoOpArtifactStore,
    ScopedArtifacts,
    shelf,
)
from penguiflow.state import PlaygroundArtifactStore
from penguiflow.testing.artifact_contract import COLLISION


async def test_count_and_bytes_follow_what_is_stored() -> None:
    store = InMemoryArtifactStore()
    assert (store.count, store.total_bytes) == (0, 0)
    ref = await store.put_bytes(b"123")
    await store.put_text("käse")
    await store.put_text("käse")
    assert (store.count, store.total_bytes) == (2, 8)
    await store.delete(ref.id)
    assert (store.count, store.total_bytes) == (1, 5)
    store.clear()
    assert (store.count, store.total_bytes) == (0, 0)


async def test_clearing_may_be_awaited() -> None:
    store = InMemoryArtifactStore()
    await store.put_bytes(b"123")
    await store.clear()
    assert store.count == 0


async def test_scope_filter_is_the_default_scope() -> None:
    mine, other = ArtifactScope(session_id="mine"), ArtifactScope(session_id="other")
    store = InMemoryArtifactStore(scope_filter=mine)
    ref = await store.put_text("mine")
    foreign = await store.put_text("other", scope=other)
    assert (ref.scope, foreign.scope) == (mine, other)
    assert await store.list() == [ref, foreign]
    assert await store.list(scope=mine) == [ref]
    assert await store.list(scope=other) == [foreign]


async def test_bytes_like_data_is_copied() -> None:
    store, data = InMemoryArtifactStore(), bytearray(b"123")
    ref = await store.put_bytes(data)
    data[0] = 0
    assert await store.get(ref.id) == b"123"


async def test_second_owner_of_equal_bytes_does_not_lose_access() -> None:
    for store in (InMemoryArtifactStore(), PlaygroundArtifactStore()):
        views = [
            ScopedArtifacts(store, tenant_id=tenant, user_id="u", session_id="s", trace_id="t")
            for tenant in ("one", "two")
        ]
        refs = [await view.upload(b"equal") for view in views]
        for view, ref in zip(views, refs, strict=True):
            assert await view.download(ref.id) == b"equal"
        assert await views[0].delete(refs[0].id)
        assert await views[1].download(refs[1].id) == b"equal"


async def test_id_of_a_deleted_artifact_never_gives_foreign_bytes() -> None:
    store = InMemoryArtifactStore()
    gone = await store.put_bytes(COLLISION[0])
    await store.delete(gone.id)
    other = await store.put_bytes(COLLISION[1])
    assert await store.get(gone.id) is None
    assert await store.get(other.id) == COLLISION[1]
    assert (await store.put_bytes(COLLISION[0])).id == gone.id


async def test_what_is_remembered_of_deleted_artifacts_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "_REMEMBERED_IDS", 1)
    store = InMemoryArtifactStore()
    gone = await store.put_bytes(COLLISION[0])
    await store.delete(gone.id)
    await store.put_bytes(b"another")
    assert (await store.put_bytes(COLLISION[1])).id == gone.id


async def test_three_owners_of_colliding_bytes_have_six_artifacts() -> None:
    store = InMemoryArtifactStore()
    ids = set()
    for tenant in ("one", "two", "three"):
        for data in COLLISION:
            ref = await store.put_bytes(data, scope=ArtifactScope(tenant_id=tenant))
            ids.add(ref.id)
            assert await store.get(ref.id) == data
            assert len(ref.id) == len("art_") + 12
    assert len(ids) == 6


# ---- playground ----------------------------------------------------------------------------------


async def test_bytes_are_given_only_to_their_session() -> None:
    store = PlaygroundArtifactStore()
    ref = await store.put_text("text", scope=ArtifactScope(session_id="mine"))
    assert await store.get_with_session_check(ref.id, "mine") == b"text"
    assert await store.get_with_session_check(ref.id, "other") is None
    assert await store.get_with_session_check("art_unknown", "mine") is None
    assert await store.get(ref.id) == b"text"


async def test_artifact_without_a_session_is_in_the_default_session() -> None:
    store = PlaygroundArtifactStore()
    for scope in (None, ArtifactScope(tenant_id="tenant")):
        ref = await store.put_text("text", scope=scope)
        assert await store.get_with_session_check(ref.id, "default") == b"text"
        assert await store.get_with_session_check(ref.id, "other") is None


async def test_equal_bytes_of_two_sessions_are_there_for_both() -> None:
    store = PlaygroundArtifactStore()
    for session in ("one", "two"):
        ref = await store.put_text("text", scope=ArtifactScope(session_id=session))
        assert await store.get_with_session_check(ref.id, session) == b"text"
    store.clear_session("one")
    assert await store.get_with_session_check(ref.id, "two") == b"text"


async def test_cleared_session_is_empty_and_the_others_stay() -> None:
    store = PlaygroundArtifactStore()
    default = await store.put_text("default")
    mine = await store.put_text("mine", scope=ArtifactScope(session_id="mine"))
    store.clear_session("mine")
    assert not await store.exists(mine.id)
    assert await store.exists(default.id)
    store.clear()
    assert not await store.exists(default.id)


# ---- no store ------------------------------------------------------------------------------------


async def test_nothing_is_kept_and_the_reference_says_so() -> None:
    store = NoOpArtifactStore()
    ref = await store.put_bytes(
        b"12345", mime_type="image/png", filename="a", namespace="tool", meta={"origin": "test"}
    )
    assert ref.id.startswith("tool_")
    assert (ref.size_bytes, ref.mime_type, ref.filename) == (5, "image/png", "a")
    assert ref.source.pop("warning")
    assert ref.source == {"origin": "test", "truncated": True, "original_size": 5}
    assert await store.get(ref.id) is None
    assert await store.get_ref(ref.id) is None
    assert not await store.exists(ref.id)
    assert not await store.delete(ref.id)
    assert await store.list() == []


async def test_text_that_is_not_kept_has_a_preview() -> None:
    store = NoOpArtifactStore(max_inline_preview=3)
    long, short = await store.put_text("12345"), await store.put_text("123")
    assert long.source["preview"] == "123\n... [2 more chars truncated]"
    assert short.source["preview"] == "123"
    assert long.source["truncated"] is short.source["truncated"] is True
    assert long.source["original_size"] == 5
    assert long.mime_type == "text/plain"


async def test_preview_is_500_characters_by_default() -> None:
    ref = await NoOpArtifactStore().put_text("x" * 501)
    assert ref.source["preview"] == "x" * 500 + "\n... [1 more chars truncated]"


async def test_missing_store_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    store = NoOpArtifactStore()
    for _ in range(2):
        await store.put_text("text")
        await store.put_bytes(b"bytes")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
