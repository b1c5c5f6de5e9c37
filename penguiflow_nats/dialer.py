"""Finding a server: the configured addresses, those a cluster announced, and the pauses."""

import random
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from nats.aio.client import Client

from penguiflow_nats import natspy
from penguiflow_nats.errors import ConnectFailed
from penguiflow_nats.settings import ConnectionSettings


def without_credentials(server: str) -> str:
    """Return the address without user, password or token."""
    scheme, separator, rest = server.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


class Dialer:
    """Connects fresh nats-py clients, one server after the other."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        new_client: Callable[[], Client],
        on_error: Callable[[Exception], None],
        on_lame_duck: Callable[[Client], None],
    ) -> None:
        """Remember how to connect.

        Args:
            settings: Addresses, credentials, limits.
            new_client: Makes the client of the next attempt.
            on_error: Told what a connected client reports.
            on_lame_duck: Told when the server of a client is about to leave.
        """
        self._settings = settings
        self._new_client = new_client
        self._on_error = on_error
        self._on_lame_duck = on_lame_duck
        self._servers = list(settings.servers)

    async def dial(self, *, avoid: str | None = None) -> Client:
        """Try every known server once.

        Args:
            avoid: Host and port of a server not to try.

        Raises:
            ConnectFailed: None of them let us in.
        """
        reason = "no other server known"
        tried = []
        for server in list(self._servers):
            if avoid is not None and urlsplit(server).netloc.rpartition("@")[2] == avoid:
                continue
            # The next dial starts with the next server, so that clients spread over a cluster.
            self._servers.append(self._servers.pop(0))
            tried.append(without_credentials(server))
            client = self._new_client()
            try:
                await natspy.connect(
                    client,
                    server,
                    self._settings,
                    on_error=self._on_error,
                    on_lame_duck=lambda client=client: self._on_lame_duck(client),  # type: ignore[misc]
                )
            except ConnectionError as error:
                reason = str(error)
                continue
            self.learn(client)
            return client
        raise ConnectFailed(tried, reason)

    def learn(self, client: Client) -> None:
        """Remember the servers that this client was told about."""
        known = {urlsplit(server).netloc.rpartition("@")[2] for server in self._servers}
        login = urlsplit(self._servers[0]).netloc.rpartition("@")[0]
        for url in client.discovered_servers:
            if url.netloc not in known:
                # Credentials written into the address hold for the whole cluster.
                netloc = f"{login}@{url.netloc}" if login else url.netloc
                self._servers.append(url._replace(netloc=netloc).geturl())

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each attempt: doubling, with jitter so that clients spread."""
        pause = self._settings.reconnect_initial_interval
        while True:
            yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
            pause = min(2 * pause, self._settings.reconnect_maximum_interval)
