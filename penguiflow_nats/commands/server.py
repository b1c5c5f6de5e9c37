"""The options that say where the server is and who connects to it."""

from __future__ import annotations

import ssl
from argparse import ArgumentParser, Namespace
from pathlib import Path

from penguiflow.cli.errors import UsageError
from penguiflow.cli.options import names, option
from penguiflow_nats.settings import ConnectionSettings

DEFAULT_URL = "nats://127.0.0.1:4222"


def add_server(parser: ArgumentParser) -> None:
    """Tenant, server and credentials."""
    option(
        parser,
        "--tenant",
        env="PENGUIFLOW_TENANT",
        default="default",
        metavar="T",
        help="whose messages",
    )
    option(
        parser,
        "--nats",
        env="PENGUIFLOW_NATS_URL",
        type=names,
        default=DEFAULT_URL,
        metavar="URL",
        help="the server; several of a cluster with commas",
    )
    _add_credentials(parser)


def _add_credentials(parser: ArgumentParser) -> None:
    """No option takes a secret itself: it would stand in the list of processes."""
    option(
        parser,
        "--user",
        env="PENGUIFLOW_NATS_USER",
        metavar="NAME",
        help="who connects, with --password-file",
    )
    option(
        parser,
        "--password-file",
        env="PENGUIFLOW_NATS_PASSWORD_FILE",
        type=Path,
        metavar="FILE",
        help="file with the user's password",
    )
    option(
        parser,
        "--creds",
        env="PENGUIFLOW_NATS_CREDS",
        metavar="FILE",
        help="credentials file with a user JWT and its seed",
    )
    option(
        parser,
        "--nkey",
        env="PENGUIFLOW_NATS_NKEY",
        metavar="FILE",
        help="file with the seed of an nkey",
    )
    option(
        parser,
        "--tls-ca",
        env="PENGUIFLOW_NATS_CA",
        metavar="FILE",
        help="certificates to check the server's against, instead of the system's",
    )
    option(
        parser,
        "--inbox-prefix",
        env="PENGUIFLOW_NATS_INBOX_PREFIX",
        default="_INBOX",
        metavar="P",
        help="first tokens of reply subjects, where permissions require one",
    )


def server_of(args: Namespace) -> ConnectionSettings:
    """How to connect, from the options of `add_server`.

    Raises:
        UsageError: a file cannot be read, or the options do not go together.
    """
    given = [name for name in ("password_file", "creds", "nkey") if vars(args)[name] is not None]
    if len(given) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        text = f"{flags} are two ways to say who connects"
        raise UsageError(text, hint="give one of them")
    if (args.user is None) != (args.password_file is None):
        text = "--user and --password-file belong together"
        raise UsageError(text, hint="an nkey or a credentials file needs neither")
    for name in ("creds", "nkey"):
        if vars(args)[name] is not None:
            _read(Path(vars(args)[name]))  # now, with a sentence; not in the middle of a handshake
    return ConnectionSettings(
        servers=args.nats,
        user=args.user,
        password=_read(args.password_file) if args.password_file is not None else None,
        credentials=args.creds,
        nkey_seed=args.nkey,
        tls=_tls(args.tls_ca),
        inbox_prefix=args.inbox_prefix,
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        text = f"{file} cannot be read: {error}"
        raise UsageError(text) from error


def _tls(authorities: str | None) -> ssl.SSLContext | None:
    if authorities is None:
        return None
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:  # an ssl.SSLError is one too
        text = f"{authorities} holds no certificates that can be read: {error}"
        raise UsageError(text) from error


__all__ = ["DEFAULT_URL", "add_server", "server_of"]
