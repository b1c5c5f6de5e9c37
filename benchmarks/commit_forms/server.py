"""One nats-server of our own: a free port, its own store, ended by its process id."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def binary() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        msg = "nats-server not found; install the `server` extra"
        raise FileNotFoundError(msg)
    return found


class Server:
    """Starts, kills and restarts one server on the same port and the same store."""

    def __init__(self, folder: Path, profile: bool = False) -> None:
        self.folder = folder
        self.profile = profile
        self.port = -1
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Returns when the port answers. The store may still be loading."""
        command = [binary(), "-a", "127.0.0.1", "-p", str(self.port), "-js"]
        command += ["-sd", str(self.folder / "store"), "-l", str(self.folder / "server.log")]
        command += ["--ports_file_dir", str(self.folder)]
        command += ["--profile", "-1"] if self.profile else []
        self.process = subprocess.Popen(command)
        if self.port == -1:
            self.port = self._read_port("nats")
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    msg = f"nats-server ended with {self.process.returncode}"
                    raise RuntimeError(msg) from None
                time.sleep(0.002)

    def _read_port(self, service: str) -> int:
        file = self.folder / f"nats-server_{self.pid}.ports"
        for _ in range(2000):
            if file.exists() and (text := file.read_text()):
                return int(json.loads(text)[service][0].rsplit(":", 1)[1])
            time.sleep(0.005)
        msg = "the server wrote no ports file"
        raise TimeoutError(msg)

    def kill(self) -> None:
        """SIGKILL, as a crash of the process. The page cache survives."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE

    def heap_bytes(self) -> int:
        """What is alive after a garbage collection; RSS also holds what only was."""
        url = f"http://127.0.0.1:{self._read_port('profile')}/debug/pprof/heap?gc=1&debug=1"
        found = None
        for _ in range(3):  # what lies in a pool survives the first collection
            with urllib.request.urlopen(url) as answer:
                found = re.search(rb"# HeapAlloc = (\d+)", answer.read())
        assert found is not None
        return int(found.group(1))

    def disk_bytes(self) -> int:
        files = (self.folder / "store").rglob("*")
        return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


@contextmanager
def running_server(profile: bool = False) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="commit-forms-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), profile)
        try:
            server.start()
            yield server
        finally:
            server.kill()
