"""Looks at a server and account; changes nothing. What it means is for the checks to say."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import msgspec

from penguiflow_nats.connection import Connection
from penguiflow_nats.doctor_findings import Case, Facts, MonitorFacts, ServerFacts, owner
from penguiflow_nats.errors import ApiError, NatsError, NoResponders
from penguiflow_nats.jetstream import JetStream, timestamp_ns
from penguiflow_nats.stream_types import AccountInfo, ConsumerInfo, StreamInfo
from penguiflow_nats.subjects import Names

P = TypeVar("P")

_LOOPBACK = ("127.", "localhost", "::1", "[::1]")
_MONITOR_TIMEOUT = 5.0

_Streams = dict[str, StreamInfo]
_Consumers = dict[tuple[str, str], ConsumerInfo]


class _StreamPage(msgspec.Struct, frozen=True):
    total: int = 0
    streams: list[StreamInfo] | None = None
    missing: list[str] | None = None


class _ConsumerPage(msgspec.Struct, frozen=True):
    total: int = 0
    consumers: list[ConsumerInfo] | None = None


class _UserServer(msgspec.Struct, frozen=True):
    time: str = ""


class _UserData(msgspec.Struct, frozen=True):
    account: str = ""
    account_name: str = ""


class _User(msgspec.Struct, frozen=True):
    server: _UserServer = _UserServer()
    data: _UserData = _UserData()


class _Config(msgspec.Struct, frozen=True):
    max_storage: int = 0
    store_dir: str = ""
    sync_interval: int = 0
    sync_always: bool = False


class _Meta(msgspec.Struct, frozen=True):
    cluster_size: int = 0


class _Jsz(msgspec.Struct, frozen=True):
    config: _Config = _Config()
    storage: int = 0
    reserved_storage: int = 0
    meta_cluster: _Meta = _Meta()


async def look(
    connection: Connection,
    case: Case,
    *,
    monitor: str | None = None,
    interval: float = 2.0,
    now: Callable[[], float] = time.time,
) -> Facts:
    """See all there is to see.

    Args:
        connection: As a worker of the tenant.
        case: Whose flow it is about.
        monitor: Address of the server's monitoring, as `http://127.0.0.1:8222`.
        interval: Seconds between the two looks at the consumers.
        now: This machine's clock.

    Raises:
        OSError: the monitoring does not answer.
        NatsError: the server does not answer, or forbids to look.
    """
    server = _server(connection)
    seen = await asyncio.to_thread(_monitor, monitor, server) if monitor else None
    account_name, offset = await _user(connection, now)
    jetstream = JetStream(connection)
    account = await _account(jetstream)
    if account is None:
        return Facts(server=server, monitor=seen, account_name=account_name, clock_offset=offset)
    earlier_streams, earlier, _ = await _sample(jetstream)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(interval)
    streams, consumers, missing = await _sample(jetstream)
    return Facts(
        server=server,
        monitor=seen,
        account=account,
        account_name=account_name,
        clock_offset=offset,
        streams=streams,
        consumers=consumers,
        earlier=earlier,
        earlier_streams=earlier_streams,
        interval=asyncio.get_running_loop().time() - began,
        missing=missing,
        letters=await _letters(jetstream, case.names, streams),
    )


def _server(connection: Connection) -> ServerFacts:
    client = connection.client
    info: dict[str, Any] = dict(client._server_info) if client is not None else {}  # noqa: SLF001
    host = str(client.connected_url.hostname) if client and client.connected_url else ""
    return ServerFacts(
        version=str(info.get("version", "")),
        jetstream=bool(info.get("jetstream")),
        headers=bool(info.get("headers")),
        max_payload=int(info.get("max_payload", 0)),
        auth_required=bool(info.get("auth_required")),
        tls=bool(info.get("tls_required")),
        cluster=str(info.get("cluster", "")),
        addresses=len(info.get("connect_urls") or ()),
        loopback=host.startswith(_LOOPBACK),
    )


def _monitor(address: str, server: ServerFacts) -> MonitorFacts:
    if not address.startswith(("http://", "https://")):
        msg = f"{address!r} is no address of a monitoring: write http://host:8222"
        raise OSError(msg)
    url = f"{address.rstrip('/')}/jsz?config=1"
    with urlopen(url, timeout=_MONITOR_TIMEOUT) as answer:  # noqa: S310 - checked above
        text = answer.read()
    try:
        jsz = msgspec.json.decode(text, type=_Jsz)
    except msgspec.DecodeError as error:
        msg = f"what answers is no monitoring: {error}"
        raise OSError(msg) from error
    free, total = None, 0
    if server.loopback and jsz.config.store_dir and Path(jsz.config.store_dir).exists():
        usage = shutil.disk_usage(jsz.config.store_dir)
        free, total = usage.free, usage.total
    return MonitorFacts(
        sync_always=jsz.config.sync_always,
        sync_interval=jsz.config.sync_interval / 1e9,
        max_storage=jsz.config.max_storage,
        reserved_storage=jsz.reserved_storage,
        storage=jsz.storage,
        cluster_size=jsz.meta_cluster.cluster_size,
        disk_free=free,
        disk_total=total,
    )


async def _user(connection: Connection, now: Callable[[], float]) -> tuple[str, float | None]:
    """The account, and how far our clock is ahead. Neither is worth to fail for."""
    sent = now()
    try:
        reply = await connection.request("$SYS.REQ.USER.INFO")
        user = msgspec.json.decode(reply.data, type=_User)
        middle = (sent + now()) / 2
        offset = middle - timestamp_ns(user.server.time) / 1e9
    except (NatsError, msgspec.DecodeError, ValueError):
        return "", None
    return user.data.account_name or user.data.account, offset


async def _account(jetstream: JetStream) -> AccountInfo | None:
    try:
        return await jetstream.account_info()
    except (NoResponders, ApiError):
        return None


async def _sample(jetstream: JetStream) -> tuple[_Streams, _Consumers, tuple[str, ...]]:
    streams: _Streams = {}
    missing: set[str] = set()
    while True:
        found = await _page(jetstream, "STREAM.LIST", len(streams), _StreamPage)
        streams |= {each.config.name: each for each in found.streams or ()}
        missing.update(found.missing or ())
        # Whoever is missing is counted too, and the server waits some seconds for it each time.
        if not found.streams or len(streams) + len(missing) >= found.total:
            break
    consumers: _Consumers = {}
    for stream in filter(owner, streams):
        offset = 0
        while True:
            page = await _page(jetstream, f"CONSUMER.LIST.{stream}", offset, _ConsumerPage)
            consumers |= {(stream, each.name): each for each in page.consumers or ()}
            offset += len(page.consumers or ())
            if not page.consumers or offset >= page.total:
                break
    return streams, consumers, tuple(sorted(missing))


async def _page(jetstream: JetStream, action: str, offset: int, kind: type[P]) -> P:
    body = msgspec.json.encode({"offset": offset})
    reply = await jetstream.connection.request(f"{jetstream.prefix}.{action}", body)
    return msgspec.json.decode(reply.data, type=kind)


async def _letters(jetstream: JetStream, names: Names, streams: _Streams) -> dict[str, int]:
    stream = streams.get(names.dlq_stream)
    if stream is None or not stream.state.messages:
        return {}
    letters = f"{names.root}.dlq.*.*.*.*"  # beside them lies the journal of redrives
    info = await jetstream.stream_info(names.dlq_stream, subjects_filter=letters)
    counted: Counter[str] = Counter()
    for subject, messages in (info.state.subjects or {}).items():
        flow, node = subject.split(".")[4:6]
        counted[f"{flow} {node}"] += messages
    return dict(counted)


__all__ = ["look"]
