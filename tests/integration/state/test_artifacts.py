"""Artifacts: streamed in bounded memory, checked on reading, kept within limits, gone in time."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from penguiflow.artifacts.models import ArtifactRetentionConfig, ArtifactScope
from penguiflow_nats.artifact_store import NatsArtifactStore
from penguiflow_nats.connection import Connection
from penguiflow_nats.object_errors import ObjectCorrupt
from penguiflow_nats.state_settings import ForeignTenant
from penguiflow_nats.state_store import NatsStateStore

MIB = 1024 * 1024


def artifacts(connection: Connection, **limits: Any) -> NatsArtifactStore:
    return NatsArtifactStore(
        connection, ArtifactRetentionConfig(**limits), tenant=f"t{uuid4().hex}"
    )


async def pieces(count: int, size: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield number.to_bytes(4, "big") * (size // 4)


def scope(**names: str) -> ArtifactScope:
    return ArtifactScope(session_id="session", **names)


async def test_hundred_megabytes_are_streamed_in_bounded_memory(connection: Connection) -> None:
    store = artifacts(connection, max_artifact_bytes=200 * MIB)
    digest = hashlib.sha256()
    tracemalloc.start()
    try:
        ref = await store.put_stream(pieces(400, 256 * 1024))
        stream = await store.get_stream(ref.id)
        assert stream is not None
        async for piece in stream:
            digest.update(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ref.size_bytes == 100 * MIB
    assert ref.sha256 == digest.hexdigest()
    assert peak < 40 * MIB
    assert await store.delete(ref.id)


async def test_stream_and_bytes_of_equal_content_are_one_artifact(connection: Connection) -> None:
    store = artifacts(connection)
    data = b"".join([piece async for piece in pieces(3, 100_000)])
    first = await store.put_bytes(data, filename="first")
    assert await store.put_stream(pieces(3, 100_000)) == first
    _, objects = await store._open()
    assert len(await objects._subjects("C.>")) == 1


async def test_equal_content_stored_at_once_gives_one_reference(connection: Connection) -> None:
    store = artifacts(connection)
    refs = await asyncio.gather(*(store.put_bytes(b"same", filename=f"{n}") for n in range(10)))
    assert len({ref.id for ref in refs}) == 1
    assert await store.get(refs[0].id) == b"same"
    assert len(await store.list()) == 1


async def test_damaged_artifact_is_never_handed_out(connection: Connection) -> None:
    store = artifacts(connection)
    ref = await store.put_bytes(b"content")
    _, objects = await store._open()
    (subject,) = await objects._subjects("C.>")
    await objects.jetstream.purge_stream(objects.stream, subject=subject)
    await objects.jetstream.append(subject, b"CONTENT")
    with pytest.raises(ObjectCorrupt):
        await store.get(ref.id)


async def test_too_large_stream_is_refused_and_leaves_nothing(connection: Connection) -> None:
    store = artifacts(connection, max_artifact_bytes=500_000)
    with pytest.raises(ValueError, match="larger"):
        await store.put_stream(pieces(10, 100_000))
    _, objects = await store._open()
    assert not await objects.is_used()


@pytest.mark.parametrize(
    ("strategy", "left"), [("lru", [b"1" * 10, b"3" * 10]), ("fifo", [b"2" * 10, b"3" * 10])]
)
async def test_full_trace_makes_room(
    connection: Connection, strategy: str, left: list[bytes]
) -> None:
    store = artifacts(connection, max_trace_bytes=20, cleanup_strategy=strategy)
    mine = scope(trace_id="trace")
    elsewhere = await store.put_bytes(b"0" * 10, scope=scope(trace_id="other"))
    first = await store.put_bytes(b"1" * 10, scope=mine)
    await store.put_bytes(b"2" * 10, scope=mine)
    assert await store.get(first.id) == b"1" * 10
    await store.put_bytes(b"3" * 10, scope=mine)
    assert [await store.get(ref.id) for ref in await store.list(scope=mine)] == left
    assert await store.exists(elsewhere.id)


async def test_full_session_refuses_where_nothing_may_go(connection: Connection) -> None:
    store = artifacts(connection, max_artifacts_per_session=2, cleanup_strategy="none")
    for data in (b"one", b"two"):
        await store.put_bytes(data, scope=scope())
    with pytest.raises(ValueError, match="session is full"):
        await store.put_bytes(b"three", scope=scope())
    assert len(await store.list()) == 2
    await store.put_bytes(b"three", scope=ArtifactScope(session_id="another"))


async def test_artifact_has_its_time_and_storing_it_again_begins_it_anew(
    connection: Connection,
) -> None:
    store = artifacts(connection, ttl_seconds=2)
    kept = await store.put_bytes(b"kept")
    gone = await store.put_bytes(b"gone")
    await asyncio.sleep(1.2)
    assert await store.put_bytes(b"kept") == kept
    await asyncio.sleep(1.6)
    assert await store.get(gone.id) is None
    assert await store.get(kept.id) == b"kept"
    assert await store.list() == [kept]


async def test_id_of_an_artifact_that_is_gone_is_not_given_away(connection: Connection) -> None:
    # Two contents whose hashes begin alike: the first one's id stays its own.
    store = artifacts(connection)
    first = await store.put_bytes(b"text 44519985")
    await store.delete(first.id)
    second = await store.put_bytes(b"text 46698260")
    assert second.id != first.id
    assert await store.get(first.id) is None


async def test_objects_that_no_reference_names_are_swept(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = artifacts(connection, ttl_seconds=0)
    kept = await store.put_bytes(b"kept")
    _, objects = await store._open()
    await objects.put("left over", b"x")
    monkeypatch.setattr("penguiflow_nats.artifact_store._STRAY", timedelta(minutes=-1))
    assert await store.sweep() == 1
    assert await store.get(kept.id) == b"kept"
    assert await objects.get("left over") is None


async def test_scope_of_another_tenant_is_refused(connection: Connection) -> None:
    store = NatsStateStore(connection, tenant="acme")
    with pytest.raises(ForeignTenant):
        await store.artifact_store.put_bytes(b"x", scope=ArtifactScope(tenant_id="globex"))
