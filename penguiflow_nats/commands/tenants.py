"""`penguiflow tenants config tenants.toml > nats.conf`: a server that keeps tenants apart."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser, Namespace
from pathlib import Path

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.output import say, tell
from penguiflow_nats.tenancy import BadTenants, Tenants, read_tenants
from penguiflow_nats.tenancy_config import server_config


class TenantsCommand:
    """Turns a list of tenants into the configuration of a server; talks to no server."""

    name = "tenants"
    help = "make a server's configuration, with an account per tenant, from a short list"

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=("config",), help="print the configuration")
        parser.add_argument("list", type=Path, metavar="TENANTS.TOML", help="the list of tenants")
        parser.add_argument(
            "--secrets",
            type=Path,
            metavar="FILE",
            help="also make the passwords that FILE does not have yet, as lines NAME=password",
        )

        parser.add_argument(
            "--node",
            metavar="NAME",
            help="the server of a cluster that it is for; else server.name",
        )

    def run(self, args: Namespace) -> int:
        tenants = _read(args.list, args.node)
        if args.secrets is not None:
            made, unused = _make_secrets(args.secrets, tenants)
            tell(f"{made} new passwords in {args.secrets}")
            if unused:
                tell(f"remove what nobody uses any more: {', '.join(unused)}")
        say(server_config(tenants))
        return 0


command = TenantsCommand()


def _read(file: Path, node: str | None) -> Tenants:
    try:
        return read_tenants(file.read_text(encoding="utf-8"), node=node)
    except (OSError, UnicodeDecodeError) as error:
        text = f"{file} cannot be read: {error}"
        raise UsageError(text, hint="an example is deploy/nats/tenants.toml") from error
    except BadTenants as error:
        text = f"{file}: {error}"
        raise UsageError(text) from error


def _make_secrets(file: Path, tenants: Tenants) -> tuple[int, list[str]]:
    """Add what is missing and keep what is there: a new tenant must not lock the others out.

    Returns:
        How many were made, and which nobody uses: the server refuses an included file with those.
    """
    try:
        known = file.read_text(encoding="utf-8") if file.exists() else ""
        there = {line.partition("=")[0].strip() for line in known.splitlines() if "=" in line}
        wanted = tenants.variables()
        missing = [name for name in wanted if name not in there]
        # It begins with a letter: the server would read digits, or 1e5, as a number.
        lines = [f"{name}=p{secrets.token_hex(24)}\n" for name in missing]
        if known and not known.endswith("\n"):
            lines.insert(0, "\n")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as opened:
            opened.writelines(lines)
    except OSError as error:
        text = f"{file} cannot be written: {error.strerror or error}"
        raise CommandError(text) from error
    return len(missing), sorted(there - set(wanted))


__all__ = ["TenantsCommand", "command"]
