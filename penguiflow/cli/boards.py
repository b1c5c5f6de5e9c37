"""Task boards that commands can use, and where they are found."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Protocol

from penguiflow.serving.board import TaskBoard

GROUP = "penguiflow.boards"
"""The entry-point group in which a package names its boards."""


class BoardOption(Protocol):
    """A board that the user can choose; an entry point of the group leads to such an object."""

    def configure(self, parser: ArgumentParser) -> None:
        """Add its arguments; see `penguiflow.cli.options`."""

    def open(self, args: Namespace, *, agent: str) -> TaskBoard:
        """The board of an agent, not started yet."""


def boards() -> Mapping[str, BoardOption]:
    """The boards of all installed packages, by name."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point.load() for point in points}


__all__ = ["GROUP", "BoardOption", "boards"]
