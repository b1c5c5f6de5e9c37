from __future__ import annotations

from typing import Any

import pytest

from penguiflow.artifacts import (
    ArtifactScope,
    InMemoryArtifactStore,
    NoOpArtifactStore,
    ScopedArtifacts,
)

MINE = {"tenant_id": "tenant", "user_id": "user", "session_id": "session", "trace_id": "trace"}


def view(store: InMemoryArtifactStore, **changes: str | None) -> ScopedArtifacts:
    scope: dict[str, Any] = {**MINE, **changes}
    return ScopedArtifacts(store, **scope)


def test_every_part_of_the_scope_must_be_named() -> None:
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'trace_id'"):
        ScopedArtifacts(  # type: ignore[call-arg]
            InMemoryArtifactStore(), tenant_id=None, user_id=None, session_id=None
        )


async def test_upload_writes_with_the_whole_scope() -> None:
    store = InMemoryArtifactStore()
    ref = await view(store).upload(
        b"bytes", mime_type="image/png", filename="a.png", namespace="tool", meta={"a": 1}
    )
    assert ref == await store.get_ref(ref.id)
    assert ref.scope == ArtifactScope(**MINE)
    assert (ref.mime_type, ref.filename, ref.namespace) == ("image/png", "a.png", "tool")
    assert ref.source == {"a": 1}


async def test_text_is_uploaded_as_text() -> None:
    mine = view(InMemoryArtifactStore())
    assert (await mine.upload("text")).mime_type == "text/plain"
    assert (await mine.upload("{}", mime_type="application/json")).mime_type == "application/json"
    assert (await mine.upload(b"bytes")).mime_type is None


async def test_owner_sees_what_is_there() -> None:
    mine = view(InMemoryArtifactStore())
    ref = await mine.upload("text")
    assert await mine.download(ref.id) == b"text"
    assert await mine.get_metadata(ref.id) == ref
    assert await mine.list() == [ref]
    assert await mine.exists(ref.id)
    assert await mine.delete(ref.id)
    assert not await mine.exists(ref.id)
    assert not await mine.delete(ref.id)


@pytest.mark.parametrize("part", ["tenant_id", "user_id", "session_id"])
async def test_what_is_somebody_elses_is_not_there(part: str) -> None:
    store = InMemoryArtifactStore()
    mine, other = view(store), view(store, **{part: "other"})
    ref = await mine.upload("text")
    assert await other.download(ref.id) is None
    assert await other.get_metadata(ref.id) is None
    assert await other.list() == []
    assert not await other.exists(ref.id)
    assert not await other.delete(ref.id)
    assert await mine.exists(ref.id)


async def test_trace_is_not_compared() -> None:
    store = InMemoryArtifactStore()
    ref = await view(store).upload("text")
    later = view(store, trace_id="later")
    assert await later.download(ref.id) == b"text"
    assert await later.list() == [ref]


@pytest.mark.parametrize("part", ["tenant_id", "user_id", "session_id"])
async def test_part_that_the_view_leaves_open_is_not_compared(part: str) -> None:
    store = InMemoryArtifactStore()
    ref = await view(store).upload("text")
    open_view = view(store, **{part: None})
    assert await open_view.download(ref.id) == b"text"
    assert await open_view.list() == [ref]


async def test_part_that_the_artifact_leaves_open_is_not_compared() -> None:
    store = InMemoryArtifactStore()
    bare = await store.put_text("bare")
    partial = await store.put_text("partial", scope=ArtifactScope(tenant_id="tenant"))
    assert await view(store).download(bare.id) == b"bare"
    assert await view(store).download(partial.id) == b"partial"


async def test_unknown_id_is_not_there() -> None:
    mine = view(InMemoryArtifactStore())
    assert await mine.download("art_unknown") is None
    assert not await mine.delete("art_unknown")


def test_view_cannot_be_changed() -> None:
    mine = view(InMemoryArtifactStore())
    for name in ("scope", "_scope", "_store", "anything"):
        with pytest.raises(AttributeError):
            setattr(mine, name, None)
    with pytest.raises(AttributeError):
        del mine._scope


async def test_changing_the_scope_that_was_read_changes_nothing() -> None:
    mine = view(InMemoryArtifactStore())
    mine.scope.tenant_id = "other"
    assert mine.scope == ArtifactScope(**MINE)


async def test_view_of_no_store_works() -> None:
    mine = ScopedArtifacts(NoOpArtifactStore(), **MINE)
    ref = await mine.upload("text")
    assert ref.scope == ArtifactScope(**MINE)
    assert await mine.download(ref.id) is None
