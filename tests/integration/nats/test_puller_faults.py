"""The pull loop when something breaks: it goes on by itself, or says by name why it cannot."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.puller import ConsumerGone, Puller
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings, WirePath
from penguiflow_nats.stream_message import StreamMessage
from penguiflow_nats.stream_types import SECOND, ConsumerConfig, StreamConfig
from tests.support.eventually import eventually
from tests.support.proxy import FaultProxy

STREAM = StreamConfig(name="S", subjects=["s.>"])
CONSUMER = ConsumerConfig(durable_name="c", ack_wait=2 * SECOND)


class Worker:
    """Acks what it gets, and remembers it."""

    def __init__(self, connection: Connection, window: int = 16) -> None:
        self.seen: set[bytes] = set()
        self.gone: list[ConsumerGone] = []
        self.most = 0
        self.puller = Puller(
            connection,
            stream="S",
            consumer="c",
            deliver=self.deliver,
            window=window,
            on_gone=self.gone.append,
            heartbeat=0.2,
            expires=5.0,
        )

    def deliver(self, message: StreamMessage) -> None:
        self.seen.add(message.data)
        self.most = max(self.most, self.puller.in_hand)
        message.ack().add_done_callback(self.settled)

    def settled(self, ack: asyncio.Future[object]) -> None:
        if not ack.cancelled():
            ack.exception()
        self.puller.release()


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def feeder(server: EmbeddedServer) -> AsyncIterator[JetStream]:
    """Appends over a connection of its own, that nothing disturbs."""
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        jetstream = JetStream(connection)
        await jetstream.create_stream(STREAM)
        await jetstream.create_consumer("S", CONSUMER)
        yield jetstream


@pytest.fixture
async def worker(proxy: FaultProxy, feeder: JetStream, path: WirePath) -> AsyncIterator[Worker]:
    settings = ConnectionSettings(servers=(proxy.url,), path=path, ping_interval=30.0)
    async with await Connection.open(settings) as connection:
        worker = Worker(connection)
        worker.puller.start()
        yield worker
        await worker.puller.stop()


async def feed(feeder: JetStream, first: int, count: int) -> None:
    await asyncio.gather(*(feeder.append(f"s.{n}", b"%d" % n) for n in range(first, first + count)))


def all_seen(worker: Worker, count: int) -> Callable[[], bool]:
    return lambda: len(worker.seen) == count


async def test_pulling_goes_on_after_kill_and_restart(
    worker: Worker, feeder: JetStream, server: EmbeddedServer
) -> None:
    await feed(feeder, 0, 100)
    await eventually(all_seen(worker, 100))
    await server.kill()
    await server.start()
    await feeder.connection.writable()
    await feed(feeder, 100, 100)
    await eventually(all_seen(worker, 200))
    assert worker.gone == []


async def test_a_cut_link_goes_on_without_exceeding_the_window(
    worker: Worker, feeder: JetStream, proxy: FaultProxy
) -> None:
    for round_ in range(5):
        proxy.cut()
        await feed(feeder, 50 * round_, 50)
        await eventually(all_seen(worker, 50 * (round_ + 1)))
    assert worker.most <= 16
    assert worker.gone == []


async def test_a_closed_client_is_rebuilt_and_pulls_again(
    worker: Worker, feeder: JetStream, proxy: FaultProxy
) -> None:
    await feed(feeder, 0, 10)
    await eventually(all_seen(worker, 10))
    proxy.inject("to_server", b"PUB " + b"x" * 5_000 + b" 0\r\n\r\n")
    await feed(feeder, 10, 10)
    await eventually(all_seen(worker, 20))


async def test_silence_is_noticed_and_pulled_anew(
    worker: Worker, feeder: JetStream, proxy: FaultProxy
) -> None:
    await eventually(lambda: worker.puller.asked)
    renewed = worker.puller.statistics.renewed
    proxy.black_hole("to_server")
    await feeder.delete_consumer("S", "c")  # whatever answer comes, it says the same
    await feeder.create_consumer("S", CONSUMER)
    await eventually(lambda: worker.puller.statistics.renewed > renewed)
    proxy.heal()
    await feed(feeder, 0, 20)
    await eventually(all_seen(worker, 20))


async def test_a_frozen_server_loses_nothing(
    worker: Worker, feeder: JetStream, server: EmbeddedServer
) -> None:
    await feed(feeder, 0, 50)
    await eventually(all_seen(worker, 50))
    await eventually(lambda: worker.puller.asked and not worker.puller.in_hand)
    renewed = worker.puller.statistics.renewed
    server.pause()
    await eventually(lambda: worker.puller.statistics.renewed >= renewed + 2)
    server.resume()
    await feed(feeder, 50, 50)
    await eventually(all_seen(worker, 100))
    assert worker.gone == []


@pytest.mark.parametrize("what", ["consumer", "stream"])
async def test_a_deleted_consumer_is_reported_once_by_name_without_a_hot_loop(
    worker: Worker, feeder: JetStream, what: str
) -> None:
    await feed(feeder, 0, 3)
    await eventually(all_seen(worker, 3))
    if what == "consumer":
        await feeder.delete_consumer("S", "c")
    else:
        await feeder.delete_stream("S")
    await eventually(lambda: worker.gone, timeout=2.0)
    assert worker.gone[0][:2] == ("S", "c")
    assert what in worker.gone[0].reason
    pulls = worker.puller.statistics.pulls
    await asyncio.sleep(1.0)
    assert worker.puller.statistics.pulls - pulls <= 8
    assert len(worker.gone) == 1


async def test_a_consumer_that_comes_back_is_pulled_again_and_reported_again(
    worker: Worker, feeder: JetStream
) -> None:
    for round_ in range(2):
        await feeder.delete_consumer("S", "c")
        await eventually(lambda round_=round_: len(worker.gone) == round_ + 1, timeout=2.0)
        await feeder.create_consumer("S", CONSUMER)
        worker.seen.clear()
        await feed(feeder, 100 * round_, 5)
        await eventually(lambda: len(worker.seen) >= 5)


async def test_a_consumer_deleted_while_we_were_away_is_reported(
    worker: Worker, feeder: JetStream, proxy: FaultProxy
) -> None:
    proxy.refuse()
    proxy.cut()
    await feeder.delete_consumer("S", "c")
    await proxy.accept()
    await eventually(lambda: worker.gone)
    assert worker.gone[0] == ConsumerGone("S", "c", "consumer not found")


async def test_a_consumer_that_never_was_is_reported(
    feeder: JetStream, connection: Connection
) -> None:
    gone: list[ConsumerGone] = []
    puller = Puller(connection, stream="S", consumer="nobody", deliver=print, on_gone=gone.append)
    puller.start()
    await eventually(lambda: gone, timeout=2.0)
    assert gone == [ConsumerGone("S", "nobody", "consumer not found")]
    await puller.stop()


async def test_a_push_consumer_is_reported(feeder: JetStream, connection: Connection) -> None:
    await feeder.create_consumer("S", ConsumerConfig(durable_name="p", deliver_subject="push"))
    gone: list[ConsumerGone] = []
    puller = Puller(connection, stream="S", consumer="p", deliver=print, on_gone=gone.append)
    puller.start()
    await eventually(lambda: gone)
    assert gone[0].consumer == "p"
    await puller.stop()


async def test_a_refused_batch_size_is_reported(feeder: JetStream, connection: Connection) -> None:
    await feeder.create_consumer("S", ConsumerConfig(durable_name="p", max_batch=5))
    gone: list[ConsumerGone] = []
    puller = Puller(connection, stream="S", consumer="p", deliver=print, on_gone=gone.append)
    puller.start()
    await eventually(lambda: gone)
    assert "MaxRequestBatch" in gone[0].reason
    await puller.stop()


async def test_a_forbidden_pull_is_reported(path: WirePath) -> None:
    config = """
    authorization { users: [
      { user: admin, password: x }
      { user: app, password: x, permissions: { publish: { deny: "$JS.API.CONSUMER.MSG.NEXT.>" } } }
    ] }
    """
    async with EmbeddedServer(config=config) as server:
        login = {"servers": (server.url,), "password": "x", "path": path}
        admin = ConnectionSettings(user="admin", **login)  # type: ignore[arg-type]
        app = ConnectionSettings(user="app", **login)  # type: ignore[arg-type]
        async with await Connection.open(admin) as first, await Connection.open(app) as second:
            await JetStream(first).create_stream(STREAM)
            await JetStream(first).create_consumer("S", CONSUMER)
            worker = Worker(second)
            worker.puller.start()
            await eventually(lambda: worker.gone)
            assert "permission denied" in worker.gone[0].reason
            await worker.puller.stop()


async def test_starting_without_a_connection_begins_with_it(
    feeder: JetStream, proxy: FaultProxy, path: WirePath
) -> None:
    settings = ConnectionSettings(servers=(proxy.url,), path=path)
    async with await Connection.open(settings) as connection:
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not connection.is_connected)
        worker = Worker(connection)
        worker.puller.start()
        await proxy.accept()
        await feed(feeder, 0, 3)
        await eventually(all_seen(worker, 3))
        await worker.puller.stop()


async def test_stopping_without_a_connection_ends_at_once(
    worker: Worker, proxy: FaultProxy
) -> None:
    proxy.refuse()
    proxy.cut()
    await worker.puller.stop()
    await proxy.accept()
