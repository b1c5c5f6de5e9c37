"""The embedded server: found, started, restarted, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from penguiflow_nats import server as module
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ServerNotFound, ServerStartError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer, find_server, free_port
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.stream_types import StreamConfig
from tests.support.eventually import eventually


def exists(pid: int) -> bool:
    """Whether the process runs; a zombie nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def connect(server: EmbeddedServer) -> Connection:
    return await Connection.open(ConnectionSettings(servers=(server.url,)))


async def test_it_accepts_as_soon_as_it_is_started() -> None:
    async with EmbeddedServer() as server, await connect(server) as connection:
        assert (await JetStream(connection).account_info()).streams == 0
        assert exists(server.pid)


async def test_port_and_store_stay_over_kill_and_start() -> None:
    async with EmbeddedServer() as server:
        url, pid = server.url, server.pid
        async with await connect(server) as connection:
            await JetStream(connection).create_stream(StreamConfig(name="S", subjects=["s"]))
            await JetStream(connection).append("s")
        await server.kill()
        assert not server.is_running
        assert not exists(pid)
        await server.start()
        assert (server.url, server.pid) != (url, pid)
        assert server.url == url
        async with await connect(server) as connection:
            assert (await JetStream(connection).stream_info("S")).state.messages == 1


async def test_stop_ends_the_process_and_removes_what_was_temporary() -> None:
    server = EmbeddedServer()
    await server.start()
    pid, store, log = server.pid, server.store_dir, server.log_file
    assert store.exists()
    await server.stop()
    assert not exists(pid)
    assert not log.parent.exists()
    await server.stop()
    with pytest.raises(ServerStartError):
        _ = server.pid


async def test_a_given_store_is_kept(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server, await connect(server) as connection:
        await JetStream(connection).create_stream(StreamConfig(name="S", subjects=["s"]))
    async with EmbeddedServer(tmp_path) as server, await connect(server) as connection:
        assert await JetStream(connection).stream_names() == ["S"]


async def test_many_start_at_once_without_colliding() -> None:
    servers = [EmbeddedServer(jetstream=False) for _ in range(6)]
    await asyncio.gather(*(server.start() for server in servers))
    try:
        assert len({server.port for server in servers}) == 6
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def test_a_frozen_server_stays_and_goes_on(tmp_path: Path) -> None:
    async with EmbeddedServer() as server, await connect(server) as connection:
        server.pause()
        waiting = asyncio.create_task(connection.flush())
        assert not (await asyncio.wait({waiting}, timeout=0.2))[0]
        server.resume()
        await waiting
        server.pause()  # stopping a frozen one must not hang


async def test_more_configuration_as_text_or_file(tmp_path: Path) -> None:
    file = tmp_path / "more.conf"
    file.write_text("max_payload: 2000")
    for config in ("max_payload: 2000", file):
        async with EmbeddedServer(config=config) as server, await connect(server) as connection:
            assert connection.client is not None
            assert connection.client.max_payload == 2_000


async def test_a_bad_configuration_is_said_with_the_servers_words() -> None:
    server = EmbeddedServer(config="no_such_option: 1")
    with pytest.raises(ServerStartError, match="no_such_option"):
        await server.start()
    assert not server.is_running


async def test_a_taken_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BIND_ATTEMPTS", 2)
    async with EmbeddedServer() as first:
        second = EmbeddedServer(port=first.port)
        with pytest.raises(ServerStartError, match="address already in use"):
            await second.start()


async def test_a_chosen_port_that_is_taken_meanwhile_is_chosen_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with EmbeddedServer() as first:
        ports = [first.port, free_port()]
        monkeypatch.setattr(module, "free_port", lambda host: ports.pop(0))
        async with EmbeddedServer() as second:
            assert second.port != first.port


async def test_an_exception_and_a_cancellation_end_it_too() -> None:
    pids = []

    async def body() -> None:
        async with EmbeddedServer() as server:
            pids.append(server.pid)
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await eventually(lambda: pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def failing() -> None:
        async with EmbeddedServer() as server:
            pids.append(server.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    assert not any(map(exists, pids))


async def test_a_cancelled_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedServer()
    monkeypatch.setattr(module, "_READY", "never written")
    starting = asyncio.create_task(server.start())
    await eventually(lambda: server.is_running)
    pid = server.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not exists(pid)
    await server.stop()


CHILD = textwrap.dedent("""
    import asyncio, sys
    from penguiflow_nats.server import EmbeddedServer

    async def main():
        server = EmbeddedServer()
        await server.start()
        sys.stdout.write(f"{server.pid} {server.log_file.parent}\\n")
        sys.stdout.flush()
        if "wait" in sys.argv:
            await asyncio.sleep(60)

    asyncio.run(main())
""")


def start_child(*arguments: str) -> tuple["subprocess.Popen[str]", int, Path]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    pid, _, directory = child.stdout.readline().strip().partition(" ")
    child.stdout.close()
    return child, int(pid), Path(directory)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
async def test_a_killed_parent_takes_it_along() -> None:
    child, pid, _ = start_child("wait")
    assert exists(pid)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    await eventually(lambda: not exists(pid))


async def test_a_parent_that_forgets_to_stop_takes_it_along() -> None:
    child, pid, directory = start_child()
    assert child.wait(10) == 0
    await eventually(lambda: not exists(pid))
    assert not directory.exists()


def test_the_binary_is_found_where_it_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "nats-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.delenv("NATS_SERVER", raising=False)
    assert find_server() == Path(sys.executable).parent / "nats-server"
    monkeypatch.setenv("NATS_SERVER", str(binary))
    assert find_server() == binary
    monkeypatch.setenv("NATS_SERVER", str(tmp_path / "missing"))
    with pytest.raises(ServerNotFound):
        find_server()


def test_without_a_binary_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NATS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(module.importlib.metadata, "files", lambda name: None)
    with pytest.raises(ServerNotFound, match=r"penguiflow\[server\].*NATS_SERVER"):
        find_server()
