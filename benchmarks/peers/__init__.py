"""Durable work beside peers: `python -m benchmarks peers`."""

from benchmarks.peers.run import run

__all__ = ["run"]
