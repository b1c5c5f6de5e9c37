"""Sub-commands: what one is, and where they are found."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Protocol

GROUP = "penguiflow.commands"
"""The entry-point group in which a package names its commands."""


class Command(Protocol):
    """One sub-command of `penguiflow`; an entry point of the group leads to such an object."""

    name: str
    """How it is called on the command line."""
    help: str
    """One line for the list of commands."""

    def configure(self, parser: ArgumentParser) -> None:
        """Add arguments; see `penguiflow.cli.options`."""

    def run(self, args: Namespace) -> int:
        """Do it and return the exit status.

        Raises:
            CommandError: it cannot be done; the text and the hint are shown to the user.
        """


Load = Callable[[], Command]
"""Gives a command; not before it is needed, because to import one may take its time."""


def installed() -> Mapping[str, Load]:
    """The commands of all installed packages, by name."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point.load for point in points}


def of(*commands: Command) -> Mapping[str, Load]:
    """A fixed set of commands."""

    def load(command: Command) -> Load:
        return lambda: command

    return {command.name: load(command) for command in commands}


__all__ = ["GROUP", "Command", "Load", "installed", "of"]
