"""One tenant's account over a connection of another account, which imports it.

Everything above a connection uses it as if it were the tenant's own: what leaves is renamed here,
and so is what arrives. A subject that is not imported is refused before it is sent, so whoever
holds the connection of one tenant reaches no other, whatever the account of the workers imports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nats.aio.client import Client

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NotImported, WrongTenant
from penguiflow_nats.imports import Import
from penguiflow_nats.incoming import Incoming, Reply
from penguiflow_nats.link import Link
from penguiflow_nats.statistics import ConnectionStatistics
from penguiflow_nats.subscription import Subscription


class ImportedConnection(Connection):
    """A tenant's account through the shared account of its workers.

    Many of them use one connection, which stays the caller's: closing one of them ends nothing.
    Workers and clients of flows, dead letters, the state store and artifacts work over it. Serving
    and calling agents, boards of tasks and the message bus do not and raise `NotImported`, as does
    any subject that is not PenguiFlow's.
    """

    def __init__(self, through: Connection, tenant: str) -> None:
        """Use `through`, a connection of the account that imports the tenant's."""
        if isinstance(through, ImportedConnection):
            msg = "an imported connection needs the one of the workers' account, not another import"
            raise TypeError(msg)
        self._through = through
        self._import = Import(tenant)
        self._inboxes_of_ours = f"{through.settings.inbox_prefix}."
        self.settings = through.settings

    @property
    def tenant(self) -> str:
        """Whose account it is."""
        return self._import.tenant

    def new_inbox(self) -> str:
        return self._through.new_inbox()

    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        decode: Callable[[Reply], Any] | None = None,
    ) -> asyncio.Future[Any]:
        theirs = self._import.to_ask(subject)
        return self._through.request(theirs, payload, headers, timeout=timeout, decode=decode)

    def request_many(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        receive: Callable[[Reply], bool],
        timeout: float | None = None,
    ) -> asyncio.Future[None]:
        theirs = self._import.to_ask(subject)
        return self._through.request_many(
            theirs, payload, headers, receive=receive, timeout=timeout
        )

    def publish(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        reply: str = "",
    ) -> None:
        self._through.publish(self._import.to_ask(subject), payload, headers, reply)

    def subscribe(
        self,
        subject: str,
        callback: Callable[[Any], None],
        *,
        queue: str = "",
        kind: type[Incoming] = Incoming,
    ) -> Subscription:
        through, names = self._through, self._import
        if subject.startswith(self._inboxes_of_ours):
            return through.subscribe(subject, callback, queue=queue, kind=kind)
        if queue:  # a member could get each message twice, or by one of two ways
            what = f"queue group {queue} of {subject}"
            raise NotImported(what, names.tenant)

        def heard(message: Incoming) -> None:
            message.subject = names.theirs(message.subject)
            callback(message)

        # The server does not hand on to a stream import what came in by a service import, so what
        # this account's own workers send is heard as they send it.
        ways = (names.to_hear(subject), names.to_ask(subject))
        return _Heard(subject, [through.subscribe(way, heard, kind=kind) for way in ways])

    async def close(self) -> None:
        """End nothing: the connection belongs to others too."""

    # All else is the connection's.

    @property
    def link(self) -> Link | None:
        return self._through.link

    @property
    def is_connected(self) -> bool:
        return self._through.is_connected

    @property
    def is_closed(self) -> bool:
        return self._through.is_closed

    @property
    def client(self) -> Client | None:
        return self._through.client

    @property
    def last_error(self) -> Exception | None:
        return self._through.last_error

    @property
    def statistics(self) -> ConnectionStatistics:
        return self._through.statistics

    async def writable(self) -> None:
        await self._through.writable()

    async def flush(self, timeout: float | None = None) -> None:
        await self._through.flush(timeout)

    def on_disconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        return self._through.on_disconnect(listener)

    def on_reconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        return self._through.on_reconnect(listener)

    def on_denied(self, listener: Callable[[str], None]) -> Callable[[], None]:
        return self._through.on_denied(lambda subject: listener(self._import.theirs(subject)))


class _Heard(Subscription):
    """What is heard from the tenant's account and from this one."""

    __slots__ = ("_ways",)

    def __init__(self, subject: str, ways: list[Subscription]) -> None:
        self.subject = subject
        self._ways = ways

    @property
    def denied(self) -> bool:  # type: ignore[override]
        return any(way.denied for way in self._ways)

    def unsubscribe(self) -> None:
        for way in self._ways:
            way.unsubscribe()

    async def drain(self, timeout: float = 1.0) -> None:
        await asyncio.gather(*(way.drain(timeout) for way in self._ways))


def imported(connection: Connection, tenant: str) -> ImportedConnection:
    """The tenant's account over a connection of the account that imports it.

    Give it to `worker`, `client`, `redriver` or `NatsStateStore` as their server, with the same
    tenant; one connection carries hundreds. The server's configuration comes from
    `penguiflow tenants config` with `shared_workers = true` at the tenant.

    Raises:
        TypeError: the connection is an import itself.
    """
    return ImportedConnection(connection, tenant)


def check_tenant(connection: Connection, tenant: str | None) -> None:
    """Refuse the imported connection of another tenant.

    Raises:
        WrongTenant: it is one.
    """
    if isinstance(connection, ImportedConnection) and connection.tenant != tenant:
        raise WrongTenant(tenant, connection.tenant)


def refuse_imported(connection: Connection, what: str) -> None:
    """Refuse an imported connection where it cannot work.

    Raises:
        NotImported: it is one.
    """
    if isinstance(connection, ImportedConnection):
        raise NotImported(what, connection.tenant)


__all__ = ["ImportedConnection", "check_tenant", "imported", "refuse_imported"]
