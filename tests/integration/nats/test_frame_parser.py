"""The own parser: cuts anywhere, foreign subscriptions, statistics, and when it is not used."""

import asyncio
import random

import pytest
from nats.aio.client import Client

from penguiflow_nats import fastpath, natspy, paths
from penguiflow_nats.connection import Connection
from penguiflow_nats.direct import DirectLink
from penguiflow_nats.fastpath import FastLink, FrameParser
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.link import Interest, PublicLink
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from tests.support.eventually import eventually


class Probe:
    """Stands in for a client: remembers what the parser leaves to it."""

    def __init__(self) -> None:
        self.stats = {"in_msgs": 0, "in_bytes": 0}


@pytest.mark.parametrize("seed", range(20))
async def test_frames_cut_at_random_places_come_out_whole(seed: int) -> None:
    rng = random.Random(seed)
    wanted, stream = [], bytearray()
    for n in range(200):
        payload = rng.randbytes(rng.choice([0, 1, 100, 5_000]))
        reply = f"r.{n}" if rng.random() < 0.5 else ""
        head = f"NATS/1.0\r\nN: {n}\r\n\r\n".encode() if rng.random() < 0.5 else b""
        verb = f"HMSG s.{n} 1 {reply} {len(head)} " if head else f"MSG s.{n} 1 {reply} "
        total = len(head) + len(payload)
        stream += f"{verb}{total}\r\n".replace("  ", " ").encode() + head + payload + b"\r\n"
        wanted.append((f"s.{n}", reply, payload, {"N": str(n)} if head else None))
    heard: list[tuple[object, ...]] = []
    probe = Probe()
    parser = FrameParser(probe)
    parser.interests[b"1"] = Interest(
        "", "", lambda m: heard.append((m.subject, m.reply, m.data, m.headers)), Incoming
    )
    position = 0
    while position < len(stream):
        size = rng.choice([1, 2, 3, 50, 4_096])
        await parser.parse(bytes(stream[position : position + size]))
        position += size
    assert heard == wanted
    assert probe.stats["in_msgs"] == 200
    assert probe.stats["in_bytes"] == sum(len(each[2]) for each in wanted)


def test_the_self_test_passes() -> None:
    assert fastpath.self_test()


async def test_each_path_makes_its_own_link(server: EmbeddedServer) -> None:
    for path, kind in (("public", PublicLink), ("direct", DirectLink), ("fast", FastLink)):
        settings = ConnectionSettings(servers=(server.url,), path=path)  # type: ignore[arg-type]
        async with await Connection.open(settings) as connection:
            assert type(connection.link) is kind
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        assert type(connection.link) is FastLink


@pytest.mark.parametrize("version", ["2.15.0", "2.17.0", "3.0.0"])
async def test_an_unknown_version_uses_the_public_interface_only(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(natspy, "_installed_version", lambda: version)
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        assert type(connection.link) is PublicLink


async def test_a_failed_self_test_keeps_nats_pys_parser(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "self_test", lambda: False)
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        assert type(connection.link) is DirectLink


async def test_a_websocket_address_uses_the_public_interface_only() -> None:
    settings = ConnectionSettings(servers=("ws://127.0.0.1:1",))
    assert paths.choose_path(settings) == "public"
    await asyncio.sleep(0)


async def test_nats_pys_own_subscriptions_and_statistics_go_on(server: EmbeddedServer) -> None:
    settings = ConnectionSettings(servers=(server.url,), path="fast")
    async with await Connection.open(settings) as connection:
        client = connection.client
        assert isinstance(client, Client)
        subscription = await client.subscribe("foreign")
        heard: list[Incoming] = []
        connection.subscribe("ours", heard.append)
        await client.flush()
        before = dict(client.stats)
        connection.publish("ours", b"123")
        await client.publish("foreign", b"4567", headers={"A": "b"})
        message = await subscription.next_msg()
        assert (message.data, message.headers) == (b"4567", {"A": "b"})
        await eventually(lambda: heard)
        assert client.stats["in_msgs"] - before["in_msgs"] == 2
        assert client.stats["in_bytes"] - before["in_bytes"] == 7
        assert client.stats["out_msgs"] - before["out_msgs"] == 2
        with pytest.raises(Exception, match="no responders"):
            await client.request("nobody")
