"""The one place that knows what is inside a nats-py client.

nats-py keeps handshake, TLS, authentication, reading and pings. It is not asked to reconnect:
its own way back waits for buffers that a dead link never empties, and it closes for good on most
server errors. A client here lives for one connection, and what it leaves behind is taken apart.
"""

import asyncio
import contextlib
import importlib.metadata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsPyError

from penguiflow_nats.settings import ConnectionSettings

KNOWN_VERSION = "2.16."
"""Versions whose internals this package was tested against."""

_INTERNALS = (
    "_flush_queue",
    "_flusher_task",
    "_pending",
    "_pending_data_size",
    "_ping_interval_task",
    "_pongs",
    "_ps",
    "_reading_task",
    "_sid",
    "_subs",
    "_transport",
)


@lru_cache
def _installed_version() -> str:
    return importlib.metadata.version("nats-py")


def internals_known(client: Client) -> bool:
    """Whether the inside of this client is as this package was tested against."""
    known = _installed_version().startswith(KNOWN_VERSION)
    return known and all(hasattr(client, name) for name in _INTERNALS)


def can_write_directly(client: Client) -> bool:
    """Whether frames may go straight into the send buffer of this connected client."""
    transport = getattr(client, "_transport", None)
    return internals_known(client) and getattr(transport, "_io_writer", None) is not None


def _options(settings: ConnectionSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "name": settings.name,
        "allow_reconnect": False,
        # nats-py tries one time more than this; 0 would mean for ever.
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
        "connect_timeout": settings.connect_timeout,
        # Dead after the third unanswered ping: in 2.4 intervals at most, and not before 1.6. One
        # unanswered ping proves little, its answer may wait behind data in a busy process.
        "ping_interval": 0.8 * settings.ping_interval,
        "max_outstanding_pings": 2,
        "user": settings.user,
        "password": settings.password,
        "token": settings.token,
        "user_credentials": settings.credentials,
        "nkeys_seed": settings.nkey_seed,
        "tls_hostname": settings.tls_hostname,
        "inbox_prefix": settings.inbox_prefix,
        "pending_size": settings.max_pending_bytes,
    }
    if settings.tls is not None:
        options["tls"] = settings.tls
    return options


async def connect(
    client: Client,
    server: str,
    settings: ConnectionSettings,
    *,
    on_error: Callable[[Exception], None],
    on_lame_duck: Callable[[], None],
) -> None:
    """Connect a fresh client to one server.

    Raises:
        ConnectionError: Not reachable, refused, or not in time; the text says which.
    """
    failures: list[Exception] = []

    async def error_cb(error: Exception) -> None:
        failures.append(error)
        del failures[:-1]
        on_error(error)

    async def lame_duck_cb() -> None:
        on_lame_duck()

    options = _options(settings)
    attempt = asyncio.ensure_future(
        client.connect([server], error_cb=error_cb, lame_duck_mode_cb=lame_duck_cb, **options)
    )
    connected = given_up = False

    def ended(attempt: asyncio.Future[None]) -> None:
        """Nobody may be left who asks how it ended, and it may have gone on after its end here."""
        if not attempt.cancelled():
            attempt.exception()
        if given_up:
            dismantle(client)

    attempt.add_done_callback(ended)
    try:
        # nats-py swallows cancellation in places, so its task is waited for, not cancelled inside.
        await asyncio.wait({attempt}, timeout=2 * settings.connect_timeout)
        error = attempt.exception() if attempt.done() else TimeoutError("no answer in time")
        connected = error is None
    finally:
        if not connected:
            given_up = True
            attempt.cancel()
            dismantle(client)
    if error is not None:
        cause = failures[-1] if failures else error
        raise ConnectionError(str(cause) or type(cause).__name__) from error


def server_of(client: Client) -> tuple[str, int] | None:
    """Host and port of the server that the client is connected to."""
    url = client.connected_url
    if url is None or not url.hostname:
        return None
    return url.hostname, url.port or {"ws": 80, "wss": 443}.get(url.scheme, 4222)


def dismantle(client: Client) -> None:
    """Cut the socket and end every task of a client, without waiting for its peer.

    A graceful close would wait for unsent bytes, and on a dead link these never leave.
    """
    transport = getattr(client, "_transport", None)
    writer = getattr(transport, "_io_writer", None)
    bare = getattr(transport, "_bare_io_writer", None)
    for each in (writer, bare):
        if each is not None:
            each.transport.abort()
    pending = getattr(client, "_pending", None)
    if pending:
        # What was not sent on this connection must not be sent later.
        pending.clear()
        client._pending_data_size = 0  # noqa: SLF001 - see the module docstring
    tasks = [
        getattr(client, name, None)
        for name in ("_reading_task", "_ping_interval_task", "_flusher_task", "_reconnection_task")
    ]
    tasks += [
        getattr(subscription, "_wait_for_msgs_task", None)
        for subscription in getattr(client, "_subs", {}).values()
    ]
    current = asyncio.current_task()
    for task in tasks:
        if task is not None and task is not current and not task.done():
            task.cancel()


async def close(client: Client, timeout: float) -> None:
    """Send what is pending and close, in `timeout` seconds at most."""
    closing: asyncio.Future[None] = asyncio.ensure_future(client.close())
    try:
        await asyncio.wait({closing}, timeout=timeout)
    finally:
        dismantle(client)
        if not closing.done():
            closing.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError, NatsPyError):
            await closing


def watch_reading(client: Client, lost: Callable[[], None]) -> None:
    """Call `lost` as soon as the client stops reading; a no-op if it cannot be watched."""
    task = getattr(client, "_reading_task", None)
    if task is not None:
        task.add_done_callback(lambda _: lost())


def is_reading(client: Client) -> bool:
    """Whether the client is connected and its read loop is alive."""
    task = getattr(client, "_reading_task", None)
    return client.is_connected and (task is None or not task.done())


def chain_errors(client: Client, on_error: Callable[[Exception], None]) -> None:
    """Hear the errors of a client that somebody else connected, after its own handler.

    Without known internals this does nothing; a permission violation then looks like a timeout.
    """
    if not internals_known(client):
        return
    own = client._error_cb  # noqa: SLF001 - see the module docstring

    async def error_cb(error: Exception) -> None:
        on_error(error)
        await own(error)

    client._error_cb = error_cb  # noqa: SLF001 - see the module docstring
