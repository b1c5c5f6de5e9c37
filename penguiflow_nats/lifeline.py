"""Keeping one link alive: connect, notice the loss at once, and build a new one.

nats-py ends a client for good on most errors of the server, and may go deaf while it calls itself
connected. So every end counts the same here: the read loop of the client stopped. What was
waiting fails at that moment, and a fresh client takes over.
"""

import asyncio
import logging
from functools import partial
from typing import Any, Protocol

from nats.aio.client import Client

from penguiflow_nats import natspy
from penguiflow_nats.dialer import Dialer
from penguiflow_nats.errors import ConnectFailed
from penguiflow_nats.link import Link
from penguiflow_nats.paths import choose_path, make_link, new_client
from penguiflow_nats.settings import ConnectionSettings

logger = logging.getLogger("penguiflow.nats")

_CLOSE_TIMEOUT = 2.0


class Owner(Protocol):
    """Who lives on the link."""

    def attach(self, link: Link) -> None:
        """Subscribe everything on a new link."""

    def attached(self) -> None:
        """The new link works and is in use from now on."""

    def detached(self, reason: str) -> None:
        """The link is gone; nothing that waits will be answered."""

    def reported(self, error: Exception) -> None:
        """nats-py reported an error."""

    def callback_failed(self, subject: str, error: Exception) -> None:
        """A subscription callback raised."""


class Lifeline:
    """The life cycle of a connection's links."""

    def __init__(self, settings: ConnectionSettings, owner: Owner) -> None:
        """Prepare, without connecting."""
        self.link: Link | None = None
        self.closed = False
        self.last_error: Exception | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._owner = owner
        self._changed = asyncio.Event()
        self._adopted: Client | None = None
        self._adopted_reconnects = 0
        self._spare: Client | None = None
        self._rebuilding: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._path = choose_path(settings)
        self._dialer = Dialer(
            settings,
            new_client=partial(new_client, self._path),
            on_error=self._on_error,
            on_lame_duck=self._on_lame_duck,
        )

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            ConnectFailed: No server let us in.
        """
        await self._install(await self._dialer.dial())

    async def adopt(self, client: Client) -> None:
        """Use a client that the caller connected, reconnects and closes.

        Raises:
            ConnectFailed: The client is not connected.
        """
        if not natspy.is_reading(client):
            raise ConnectFailed(["the adopted client"], "it is not connected")
        self._adopted = client
        self._adopted_reconnects = client.stats["reconnects"]
        natspy.chain_errors(client, self._on_error)
        await self._install(client)

    async def close(self) -> None:
        """Send what is pending and end. Again: no effect."""
        if self.closed:
            return
        self.closed = True
        for task in (self._rebuilding, self._moving):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                await asyncio.wait({task})
        link = self._drop("the connection was closed")
        if link is not None:
            await self.within(link, link.flush(), _CLOSE_TIMEOUT)
            link.retire()
            if self._adopted is None:
                await natspy.close(link.client, _CLOSE_TIMEOUT)
        if self._spare is not None:
            natspy.dismantle(self._spare)

    async def changed(self) -> None:
        """Wait until the link is lost, replaced or closed for good."""
        await self._changed.wait()

    async def within(self, link: Link, work: Any, timeout: float | None) -> bool:
        """Await something of a link, but no longer than the link lives.

        Returns:
            Whether it was done in time.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait(
                {task, self.gone} if link is self.link else {task},
                timeout=timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not task.done():
                return False
            task.result()
            return True
        finally:
            if not task.done():
                task.cancel()

    def check(self) -> None:
        """Notice what no callback told us. Called about ten times a second."""
        client = self._adopted
        if client is None:
            if self.link is not None and not natspy.is_reading(self.link.client):
                self.lose(self.link, "nats-py stopped")
            return
        reconnects = client.stats["reconnects"]
        up = natspy.is_reading(client)
        if self.link is not None and (not up or reconnects != self._adopted_reconnects):
            self.lose(self.link, "the adopted client lost its server")
        if self.link is None and up and self._rebuilding is None:
            self._adopted_reconnects = reconnects
            self._rebuilding = asyncio.create_task(self._rebuild())
        if client.is_closed and not self.closed:
            self.closed = True
            self._signal()

    def lose(self, link: Link, reason: str) -> None:
        """Give a link up. A link that is not in use any more: no effect."""
        if link is not self.link:
            return
        logger.warning("connection lost: %s", reason)
        self._drop(reason)
        link.retire()
        if self._adopted is None:
            self._dialer.learn(link.client)
            natspy.dismantle(link.client)
            self._rebuilding = asyncio.create_task(self._rebuild())

    def _drop(self, reason: str) -> Link | None:
        link, self.link = self.link, None
        if link is not None:
            self.gone.set_result(None)
            self.gone = asyncio.get_running_loop().create_future()
            self._owner.detached(reason)
        self._signal()
        return link

    def _signal(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _rebuild(self) -> None:
        pauses = self._dialer.pauses()
        while not self.closed:
            try:
                await self._install(await self._next_client())
            except ConnectFailed as error:
                self.last_error = error
                logger.info("reconnect: %s", error)
            except Exception:
                # Whatever it is, ending here would leave the connection dead for ever.
                logger.exception("reconnect failed")
            else:
                break
            await asyncio.sleep(next(pauses))
        self._rebuilding = None

    async def _next_client(self) -> Client:
        if self._adopted is not None:
            return self._adopted
        client, self._spare = self._spare, None
        return client if client is not None else await self._dialer.dial()

    async def _install(self, client: Client) -> None:
        link = make_link(client, self._path, self._owner.callback_failed)
        installed = False
        try:
            self._owner.attach(link)
            # A round trip proves the link, and the server's refusals arrive before its end.
            if not await self.within(link, link.barrier(), self._settings.connect_timeout):
                raise ConnectFailed([self._name(client)], "connected, but it does not answer")
            if not natspy.is_reading(client):
                raise ConnectFailed([self._name(client)], "lost again at once")
            installed = True
        finally:
            if not installed:
                link.retire()
                if self._adopted is None:
                    natspy.dismantle(client)
        natspy.watch_reading(client, partial(self.lose, link, "nats-py stopped reading"))
        self.link = link
        self._signal()
        self._owner.attached()

    @staticmethod
    def _name(client: Client) -> str:
        url = client.connected_url
        return url.netloc.rpartition("@")[2] if url is not None else "server"

    def _on_error(self, error: Exception) -> None:
        self.last_error = error
        self._owner.reported(error)

    def _on_lame_duck(self, client: Client) -> None:
        if self.link is not None and client is self.link.client and self._moving is None:
            self._moving = asyncio.create_task(self._move(self.link))

    async def _move(self, link: Link) -> None:
        """Leave a server that is about to stop, if there is another one to go to."""
        try:
            client = await self._dialer.dial(avoid=self._name(link.client))
        except ConnectFailed:
            # The old link is better than none; its end is noticed when it comes.
            logger.warning("the server is about to stop and no other one is reachable")
            return
        finally:
            self._moving = None
        if link is self.link:
            self._spare = client
            self.lose(link, "the server is about to stop")
        else:
            natspy.dismantle(client)
