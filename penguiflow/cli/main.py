"""The dispatcher: finds the sub-command, reads its arguments, and turns what it raises into words.

Only the command that was asked for is imported.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from penguiflow.cli import commands as found
from penguiflow.cli.commands import Command, Load
from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.output import say, tell

PROGRAM = "penguiflow"
INTERRUPTED = 130

_INSTALL = 'install what brings it, as in: pip install "penguiflow[nats]"'


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise, so that there is one place where the program speaks and ends."""
        raise UsageError(message, hint=f"see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None, *, commands: Mapping[str, Load] | None = None) -> int:
    """Run one sub-command and return the exit status.

    Args:
        argv: The arguments; those of this process by default.
        commands: The sub-commands; those of all installed packages by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = found.installed() if commands is None else commands
    try:
        return _dispatch(arguments, known)
    except CommandError as error:
        tell(error.line())
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough of it. What is still buffered has nowhere to go.
        sys.stdout = None
        return 0
    except Exception as error:
        logging.getLogger("penguiflow.cli").debug("command failed", exc_info=True)
        tell(CommandError(f"{type(error).__name__}: {error}").line())
        return 1


def _dispatch(arguments: list[str], known: Mapping[str, Load]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        (say if arguments else tell)(_overview(known))
        return 0 if arguments else UsageError.status
    if arguments[0] == "--version":
        say(_version())
        return 0
    name, *rest = arguments
    command = _load(name, known)
    parser = _Parser(prog=f"{PROGRAM} {name}", description=command.help, allow_abbrev=False)
    command.configure(parser)
    try:
        options = parser.parse_args(rest)
    except SystemExit as done:  # after --help
        return int(done.code or 0)
    return command.run(options)


def _load(name: str, known: Mapping[str, Load]) -> Command:
    if name not in known:
        there = ", ".join(known) or "none"
        text = f"there is no command {name!r}; there is: {there}"
        raise UsageError(text, hint=f"see `{PROGRAM} --help`" if known else _INSTALL)
    try:
        return known[name]()
    except ImportError as error:
        text = f"the command {name!r} cannot be loaded: {error}"
        raise UsageError(text, hint=_INSTALL) from error


def _overview(known: Mapping[str, Load]) -> str:
    lines = [f"usage: {PROGRAM} COMMAND [ARGUMENT ...]", "", "commands:"]
    width = max(map(len, known), default=0)
    lines.extend(f"  {name:{width}}  {_help(name, known)}" for name in known)
    if not known:
        lines.append(f"  none; {_INSTALL}")
    lines += [
        "",
        f"`{PROGRAM} COMMAND --help` says more about one; `{PROGRAM} --version` the version.",
    ]
    return "\n".join(lines)


def _help(name: str, known: Mapping[str, Load]) -> str:
    try:
        return _load(name, known).help
    except CommandError as error:
        return f"({error})"


def _version() -> str:
    try:
        return f"{PROGRAM} {version(PROGRAM)}"
    except PackageNotFoundError:
        return f"{PROGRAM}, not installed"


__all__ = ["main"]
