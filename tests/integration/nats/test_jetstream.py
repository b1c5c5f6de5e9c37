"""The JetStream calls against the real server."""

from datetime import UTC, datetime, timedelta

import pytest

from penguiflow_nats import error_codes
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, NoResponders, TooManyResults
from penguiflow_nats.jetstream import JetStream, timestamp_ns
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.stream_types import SECOND, ConsumerConfig, StreamConfig
from tests.support.eventually import eventually

STREAM = StreamConfig(name="S", subjects=["s.>"], allow_direct=True)


async def refused(call: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def test_a_stream_is_created_read_changed_and_deleted(jetstream: JetStream) -> None:
    created = await jetstream.create_stream(STREAM)
    assert created.config.subjects == ["s.>"]
    assert created.config.storage == "file"
    await jetstream.create_stream(STREAM)
    other = StreamConfig(name="S", subjects=["other"])
    assert (await refused(jetstream.create_stream(other))).err_code == (
        error_codes.STREAM_NAME_IN_USE
    )
    overlap = StreamConfig(name="T", subjects=["s.x"])
    assert (await refused(jetstream.create_stream(overlap))).err_code == error_codes.SUBJECT_OVERLAP
    wider = StreamConfig(name="S", subjects=["s.>", "t"], allow_direct=True, max_age=3_600 * SECOND)
    assert (await jetstream.update_stream(wider)).config.max_age == 3_600 * SECOND
    assert await jetstream.stream_names() == ["S"]
    assert await jetstream.stream_names(subject="t") == ["S"]
    assert await jetstream.stream_names(subject="nothing") == []
    await jetstream.delete_stream("S")
    assert await jetstream.stream_names() == []
    gone = await refused(jetstream.stream_info("S"))
    assert (gone.code, gone.err_code) == (404, error_codes.STREAM_NOT_FOUND)


async def test_what_is_appended_can_be_read_in_three_ways(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    headers = {"Name": "x", "Status": "404"}
    for n in range(1, 4):
        receipt = await jetstream.append("s.a", b"%d" % n, headers)
        assert (receipt.stream, receipt.seq, receipt.duplicate) == ("S", n, False)
    for message in (
        await jetstream.get_last("S", "s.a"),
        await jetstream.get_message("S", 3),
        await jetstream.direct_get_last("S", "s.a"),
    ):
        assert message is not None
        assert (message.subject, message.sequence, message.data) == ("s.a", 3, b"3")
        assert message.headers == headers
        stored = datetime.fromtimestamp(timestamp_ns(message.timestamp) / SECOND, UTC)
        assert abs(stored - datetime.now(UTC)) < timedelta(minutes=1)
    assert await jetstream.get_last("S", "s.none") is None
    assert await jetstream.get_message("S", 99) is None
    assert await jetstream.direct_get_last("S", "s.none") is None


async def test_an_empty_message_with_a_forged_status_is_read_as_a_message(
    jetstream: JetStream,
) -> None:
    await jetstream.create_stream(STREAM)
    await jetstream.append("s.a", b"", {"Status": "404"})
    message = await jetstream.direct_get_last("S", "s.a")
    assert message is not None
    assert message.headers == {"Status": "404"}
    assert len(await jetstream.direct_get_many("S", ["s.*"])) == 1


async def test_many_last_messages_are_read_at_once(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    for n in range(50):
        await jetstream.append(f"s.{n % 10}.x", b"%d" % n)
    found = await jetstream.direct_get_many("S", ["s.*.x"])
    assert {message.subject: int(message.data) for message in found} == {
        f"s.{n}.x": 40 + n for n in range(10)
    }
    then = await jetstream.direct_get_many("S", ["s.1.x", "s.2.x"], up_to_sequence=12)
    assert [(message.subject, message.data) for message in then] == [
        ("s.2.x", b"2"),
        ("s.1.x", b"11"),
    ]
    assert await jetstream.direct_get_many("S", ["s.none"]) == []


async def test_too_many_results_are_said_by_name(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    for future in [jetstream.append(f"s.{n}") for n in range(1_100)]:
        await future
    with pytest.raises(TooManyResults) as caught:
        await jetstream.direct_get_many("S", ["s.>"])
    assert caught.value.stream == "S"
    info = await jetstream.stream_info("S", subjects_filter="s.>")
    assert info.state.subjects is not None
    assert len(info.state.subjects) == info.state.num_subjects == 1_100


async def test_a_fence_lets_one_writer_through(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    fence = {"Nats-Expected-Last-Subject-Sequence": "0"}
    await jetstream.append("s.a", b"first", fence)
    assert (await refused(jetstream.append("s.a", b"second", fence))).err_code == (
        error_codes.WRONG_LAST_SEQUENCE
    )


async def test_one_code_with_two_meanings_is_told_apart_by_its_text(jetstream: JetStream) -> None:
    await jetstream.create_stream(
        StreamConfig(
            name="S",
            subjects=["s.>"],
            discard="new",
            discard_new_per_subject=True,
            max_msgs_per_subject=1,
            max_msgs=2,
        )
    )
    await jetstream.append("s.a")
    taken = await refused(jetstream.append("s.a"))
    await jetstream.append("s.b")
    full = await refused(jetstream.append("s.c"))
    assert taken.err_code == full.err_code == error_codes.MAXIMUM_REACHED
    assert taken.description == error_codes.SUBJECT_TAKEN_TEXT
    assert full.description in error_codes.STREAM_FULL_TEXTS


async def test_a_full_byte_limit_has_a_text_of_its_own(jetstream: JetStream) -> None:
    await jetstream.create_stream(
        StreamConfig(name="S", subjects=["s.>"], discard="new", max_bytes=1_000)
    )
    full = await refused(jetstream.append("s.a", b"x" * 2_000))
    assert full.err_code == error_codes.MAXIMUM_REACHED
    assert full.description in error_codes.STREAM_FULL_TEXTS


async def test_a_message_id_is_stored_once(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    first = await jetstream.append("s.a", b"x", {"Nats-Msg-Id": "1"})
    again = await jetstream.append("s.a", b"x", {"Nats-Msg-Id": "1"})
    assert (again.seq, again.duplicate) == (first.seq, True)


async def test_a_subject_of_no_stream_has_no_responders(jetstream: JetStream) -> None:
    with pytest.raises(NoResponders):
        await jetstream.append("no.stream")


async def test_purging_removes_what_it_names(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    for n in range(30):
        await jetstream.append(f"s.{n % 3}")
    assert await jetstream.purge_stream("S", subject="s.0") == 10
    assert await jetstream.purge_stream("S", below_sequence=11) == 6
    assert await jetstream.purge_stream("S", subject="s.1", keep=2) == 5
    assert await jetstream.purge_stream("S", keep=1) == 8
    last = await jetstream.get_last("S", "s.2")
    assert last is not None
    await jetstream.delete_message("S", last.sequence, erase=True)
    assert await jetstream.purge_stream("S") == 0


async def test_a_consumer_is_created_read_paused_and_deleted(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    config = ConsumerConfig(
        durable_name="c",
        filter_subjects=["s.a", "s.b"],
        ack_wait=15 * SECOND,
        max_deliver=7,
        max_ack_pending=500,
        backoff=[SECOND, 2 * SECOND],
    )
    info = await jetstream.create_consumer("S", config, action="create")
    assert info.config.ack_policy == "explicit"
    assert info.config.filter_subjects == ["s.a", "s.b"]
    assert info.config.max_deliver == 7
    assert info.config.backoff == [SECOND, 2 * SECOND]
    changed = ConsumerConfig(durable_name="c", filter_subject="s.a", max_ack_pending=10)
    assert (await refused(jetstream.create_consumer("S", changed, action="create"))).err_code == (
        error_codes.CONSUMER_EXISTS
    )
    updated = await jetstream.create_consumer("S", changed, action="update")
    assert updated.config.max_ack_pending == 10
    await jetstream.pause_consumer("S", "c", datetime.now(UTC) + timedelta(hours=1))
    assert (await jetstream.consumer_info("S", "c")).paused
    await jetstream.pause_consumer("S", "c", None)
    assert not (await jetstream.consumer_info("S", "c")).paused
    assert await jetstream.consumer_names("S") == ["c"]
    await jetstream.delete_consumer("S", "c")
    assert (await refused(jetstream.consumer_info("S", "c"))).err_code == (
        error_codes.CONSUMER_NOT_FOUND
    )
    assert (await refused(jetstream.create_consumer("S", changed, action="update"))).err_code == (
        error_codes.CONSUMER_DOES_NOT_EXIST
    )
    with pytest.raises(ValueError, match="name"):
        await jetstream.create_consumer("S", ConsumerConfig())


async def test_the_account_tells_what_it_uses(jetstream: JetStream) -> None:
    await jetstream.create_stream(STREAM)
    info = await jetstream.account_info()
    assert info.streams == 1
    assert info.limits.max_streams == -1


async def test_without_jetstream_nobody_responds(path: str) -> None:
    async with (
        EmbeddedServer(jetstream=False) as server,
        await Connection.open(ConnectionSettings(servers=(server.url,))) as connection,
    ):
        with pytest.raises((NoResponders, ApiError)):
            await JetStream(connection).account_info()


async def test_appends_survive_kill_and_restart(
    jetstream: JetStream, server: EmbeddedServer, connection: Connection
) -> None:
    await jetstream.create_stream(STREAM)
    stored = [await jetstream.append("s.a", b"%d" % n) for n in range(20)]
    await server.kill()
    await server.start()
    await eventually(lambda: connection.is_connected and connection.statistics.reconnects)
    assert (await jetstream.append("s.a")).seq == stored[-1].seq + 1
