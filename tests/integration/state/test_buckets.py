"""Buckets: the official client reads them, fences hold, the traps of times to live are closed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import nats
import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, OutcomeUnknown
from penguiflow_nats.kv import KeyValue
from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.multi_get import Answer, multi_last
from penguiflow_nats.object_errors import BucketFull, ObjectCorrupt, ObjectTooLarge
from penguiflow_nats.object_upload import Upload
from penguiflow_nats.objects import ObjectStore
from penguiflow_nats.pipeline import Write
from penguiflow_nats.series import SeriesReader, read_series, series_key
from penguiflow_nats.server import EmbeddedServer

SECOND = timedelta(seconds=1)


@pytest.fixture
async def kv(connection: Connection) -> KeyValue:
    limits = BucketLimits(markers=timedelta(seconds=60))
    return await KeyValue.open(connection, f"kv-{uuid4().hex}", limits)


@pytest.fixture
async def objects(connection: Connection) -> ObjectStore:
    return await ObjectStore.open(connection, f"obj-{uuid4().hex}")


@pytest.fixture
async def official(shared_server: EmbeddedServer) -> AsyncIterator[Any]:
    client = await nats.connect(shared_server.url)
    yield client.jetstream()
    await client.close()


async def test_official_client_reads_and_writes_the_bucket(kv: KeyValue, official: Any) -> None:
    revision = await kv.put("a.b", b"value")
    bucket = await official.key_value(kv.bucket)
    entry = await bucket.get("a.b")
    assert (entry.value, entry.revision) == (b"value", revision)
    await bucket.put("a.c", b"theirs")
    found = await kv.get("a.c")
    assert found is not None
    assert found.value == b"theirs"
    await bucket.delete("a.b")
    assert await kv.get("a.b") is None
    assert [each.key for each in await kv.read(["a.>"])] == ["a.c"]


async def test_official_client_reads_and_writes_objects(
    objects: ObjectStore, official: Any
) -> None:
    data = os.urandom(300_000)
    await objects.put("käse/ü", data)
    bucket = await official.object_store(objects.bucket)
    assert (await bucket.get("käse/ü")).data == data
    await bucket.put("theirs", data[:200_000])
    assert await objects.get("theirs") == data[:200_000]
    await bucket.delete("käse/ü")
    assert await objects.get("käse/ü") is None


async def test_of_many_creators_one_succeeds(kv: KeyValue) -> None:
    revisions = await asyncio.gather(*(kv.create("k", b"%d" % n) for n in range(50)))
    assert len([each for each in revisions if each is not None]) == 1


async def test_update_and_delete_need_the_revision(kv: KeyValue) -> None:
    first = await kv.put("k", b"1")
    second = await kv.update("k", b"2", first)
    assert second is not None
    assert await kv.update("k", b"3", first) is None
    assert not await kv.delete("k", revision=first)
    assert await kv.delete("k", revision=second)
    assert await kv.get("k") is None


async def test_key_is_created_again_after_it_was_deleted_or_had_its_time(kv: KeyValue) -> None:
    await kv.put("deleted", b"1")
    await kv.delete("deleted")
    await kv.put("expired", b"1", ttl=SECOND)
    await asyncio.sleep(2.2)
    for key in ("deleted", "expired"):
        entry = await kv.entry(key)
        assert entry is not None
        assert entry.removed
        assert await kv.create(key, b"2") is not None
        assert await kv.create(key, b"3") is None


async def test_time_to_live_begins_anew_with_each_write(kv: KeyValue) -> None:
    await kv.put("k", b"1", ttl=timedelta(seconds=2))
    await asyncio.sleep(1.2)
    await kv.put("k", b"2", ttl=timedelta(seconds=2))
    await asyncio.sleep(1.2)
    assert await kv.get("k") is not None
    await asyncio.sleep(1.5)
    assert await kv.get("k") is None


async def test_write_whose_receipt_was_lost_is_known_again(
    kv: KeyValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, lost = kv.jetstream.append, 0

    async def lossy(*args: Any, **kwargs: Any) -> Any:
        nonlocal lost
        receipt = await append(*args, **kwargs)
        if lost == 0:
            lost += 1
            raise OutcomeUnknown("k", "the test lost it")
        return receipt

    monkeypatch.setattr(kv.jetstream, "append", lossy)
    revision = await kv.create("k", b"1")
    assert revision is not None
    lost = 0
    assert await kv.delete("k", revision=revision)


async def test_filter_that_matches_too_many_keys_for_one_answer_is_read_in_parts(
    kv: KeyValue,
) -> None:
    await asyncio.gather(*(kv.put(f"many.{n}", b"%d" % n) for n in range(2_500)))
    found = await kv.read(["many.*"])
    assert sorted(int(each.value) for each in found) == list(range(2_500))
    assert [each.revision for each in found] == sorted(each.revision for each in found)


async def test_full_bucket_refuses_and_keeps_what_it_has(connection: Connection) -> None:
    limits = BucketLimits(max_bytes=20_000)
    kv = await KeyValue.open(connection, f"kv-{uuid4().hex}", limits, patience=0.2)
    await kv.put("first", b"x" * 10_000)
    with pytest.raises(ApiError):
        await kv.put("second", b"x" * 15_000)
    assert await kv.get("first") is not None


async def test_series_is_read_in_order_however_deep_it_is_cut(kv: KeyValue) -> None:
    keys = [series_key("s.t", f"id{n}") for n in range(3_000)]
    revisions = [await asyncio.gather(*(kv.put(key, b"") for key in keys))]
    reader = SeriesReader(kv, "s.t")
    found = [entry.revision for entry in await reader.take(10)]
    found += [entry.revision for entry in await reader.all()]
    assert found == sorted(revisions[0])
    half = found[1_500]
    assert [entry.revision for entry in await SeriesReader(kv, "s.*", after=half).take(3)] == (
        found[1_501:1_504]
    )


async def test_replica_that_lags_is_asked_until_it_has_what_the_leader_has(
    kv: KeyValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await kv.put(series_key("s.t", f"id{number}"), b"")
    asked = 0

    async def lagging(*args: Any, **kwargs: Any) -> Answer:
        nonlocal asked
        asked += 1
        answer = await multi_last(*args, **kwargs)
        return Answer(answer.found[:2], 0) if asked < 2 else answer

    monkeypatch.setattr("penguiflow_nats.series.multi_last", lagging)
    assert len(await read_series(kv, "s.t")) == 2, "one replica: what it says is all there is"
    asked, kv.replicated = 0, True
    assert len(await read_series(kv, "s.t")) == 5


async def test_object_is_replaced_and_the_old_chunks_go(objects: ObjectStore) -> None:
    await objects.put("o", b"a" * 400_000)
    await objects.put("o", b"b")
    assert await objects.get("o") == b"b"
    assert len(await objects._subjects("C.>")) == 1


async def test_empty_object_is_an_object(objects: ObjectStore) -> None:
    await objects.put("empty", b"")
    assert await objects.get("empty") == b""
    assert await objects.get("missing") is None


async def test_upload_that_is_too_large_or_fails_leaves_nothing(objects: ObjectStore) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        raise ValueError("the source broke")

    with pytest.raises(ObjectTooLarge):
        await objects.put("o", b"x" * 300_000, max_bytes=200_000)
    with pytest.raises(ValueError, match="the source broke"):
        await objects.put("o", failing())
    assert not await objects.is_used()


async def test_full_object_bucket_refuses_at_once_and_keeps_nothing_of_the_upload(
    connection: Connection,
) -> None:
    """With an hour of patience: a bucket that waited for room would run into the test's limit."""
    name = f"obj-{uuid4().hex}"
    limits = BucketLimits(max_bytes=400_000)
    objects = await ObjectStore.open(connection, name, limits, patience=3600)
    first = os.urandom(200_000)
    await objects.put("first", first)
    with pytest.raises(BucketFull, match=f"no room in object bucket {name!r}.*raise max_bytes"):
        await objects.put("second", os.urandom(300_000))
    assert await objects.info("second") is None
    assert await objects.get("first") == first
    await objects.put("third", os.urandom(100_000))


async def test_damaged_object_is_never_handed_out(objects: ObjectStore) -> None:
    info = await objects.put("o", os.urandom(300_000))
    chunk = await objects.jetstream.get_last(objects.stream, f"$O.{objects.bucket}.C.{info.nuid}")
    assert chunk is not None
    await objects.jetstream.delete_message(objects.stream, chunk.sequence)
    await objects.jetstream.append(chunk.subject, b"?" * len(chunk.data))
    with pytest.raises(ObjectCorrupt):
        await objects.get("o")


async def test_chunk_that_was_lost_on_the_way_is_put_in_its_place(objects: ObjectStore) -> None:
    upload = Upload(objects)
    pieces = [bytes([65 + n]) * 131_072 for n in range(4)]
    send, held = upload._pipeline.send, []

    async def losing(write: Write) -> None:
        if write.data[0] == 66:
            held.append(write)
        else:
            await send(write)

    upload._pipeline.send = losing  # type: ignore[method-assign]
    for piece in pieces:
        await upload.write(piece)
    sent = [write for write, _ in upload._pipeline._sent]
    await upload._pipeline.flush()
    await upload._recover([sent[0], held[0], *sent[1:]])
    info = await upload.finish("o")
    assert info.chunks == 4
    assert await objects.get("o") == b"".join(pieces)
