"""A real Jaeger on free ports, with its traces in memory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CONFIG = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
extensions:
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 100000}}}}}}}}
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{query_grpc}"}}
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{otlp}"}}
      grpc: {{endpoint: "127.0.0.1:{otlp_grpc}"}}
processors: {{batch: {{timeout: 200ms}}}}
exporters: {{jaeger_storage_exporter: {{trace_storage: memory}}}}
"""
_START_LIMIT = 30.0


class JaegerMissing(RuntimeError):
    """There is no Jaeger to ask."""


def find_jaeger() -> str:
    """The binary: `JAEGER_BIN`, else `jaeger` on the path.

    Raises:
        JaegerMissing: there is none; the message says how to get one.
    """
    named = os.environ.get("JAEGER_BIN")
    found = named if named and os.access(named, os.X_OK) else shutil.which(named or "jaeger")
    if found is None:
        where = f"JAEGER_BIN names {named!r}, which cannot be run" if named else "no jaeger on PATH"
        msg = f"{where}; CONTRIBUTING.md, 'A Jaeger to look at traces', says how to get Jaeger 2"
        raise JaegerMissing(msg)
    return found


class Jaeger:
    """Where to send spans, and what it answers."""

    def __init__(self, otlp: int, query: int) -> None:
        self.otlp = f"http://127.0.0.1:{otlp}"
        self._query = f"http://127.0.0.1:{query}"

    def get(self, path: str) -> Any:
        """An answer of the query API; None for what is not found."""
        try:
            with urllib.request.urlopen(self._query + path, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """A trace with its spans and processes."""
        found = self.get(f"/api/traces/{trace_id}")
        return found[0] if found else None


@contextmanager
def running_jaeger(folder: Path) -> Iterator[Jaeger]:
    """Start it, wait until it answers, and end it."""
    binary = find_jaeger()
    ports = dict(zip(("query", "query_grpc", "otlp", "otlp_grpc"), _free_ports(4), strict=True))
    config = folder / "jaeger.yaml"
    config.write_text(_CONFIG.format(**ports))
    log = folder / "jaeger.log"
    with log.open("wb") as output:
        process = subprocess.Popen([binary, "--config", config], stdout=output, stderr=output)
        try:
            jaeger = Jaeger(ports["otlp"], ports["query"])
            _until_it_answers(jaeger, process, log)
            yield jaeger
        finally:
            process.terminate()
            process.wait(timeout=20)


def _until_it_answers(jaeger: Jaeger, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT
    while True:
        try:
            jaeger.get("/api/services")
            return
        except (OSError, ValueError):
            if process.poll() is not None or time.monotonic() > limit:
                msg = f"Jaeger does not answer:\n{log.read_text()[-2000:]}"
                raise JaegerMissing(msg) from None
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
