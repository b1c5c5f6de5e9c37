"""How to connect: one frozen value, checked once, whose repr shows no secret."""

import ssl
from dataclasses import dataclass, field
from typing import Literal

WirePath = Literal["auto", "public", "direct", "fast"]
"""How bytes travel through nats-py, see `ConnectionSettings.path`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Settings of one connection. All times are in seconds, all sizes in bytes."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    """Addresses; tried in turn, together with those that the cluster announces."""

    name: str | None = None
    """Name that the server's monitoring shows."""

    user: str | None = field(default=None, repr=False)
    """User name; needs `password`."""

    password: str | None = field(default=None, repr=False)
    """Password of `user`."""

    token: str | None = field(default=None, repr=False)
    """Authentication token, instead of user and password."""

    credentials: str | None = field(default=None, repr=False)
    """Path of a credentials file with a user JWT and its seed (needs the `nkeys` package)."""

    nkey_seed: str | None = field(default=None, repr=False)
    """Path of a file with an nkey seed (needs the `nkeys` package)."""

    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """TLS context; without it an address with `tls://` uses the system's default."""

    tls_hostname: str | None = None
    """Name to check the certificate against, when it is not the address."""

    inbox_prefix: str = "_INBOX"
    """First tokens of every reply subject; permissions may require one of your own."""

    ping_interval: float = 3.0
    """A dead link is noticed within three times as many seconds, but not within the first."""

    connect_timeout: float = 2.0
    """Seconds for one attempt on one server."""

    request_timeout: float = 5.0
    """Seconds that a request waits for its answer, unless it says otherwise."""

    max_pending_bytes: int = 4 * 1024 * 1024
    """Unsent bytes above which `Connection.writable` waits."""

    reconnect_initial_interval: float = 0.05
    """Seconds (with jitter) before the first attempt after a loss; doubles from there."""

    reconnect_maximum_interval: float = 2.0
    """Upper bound of the seconds between two attempts."""

    path: WirePath = "auto"
    """Which way through nats-py: `public` uses only its public interface, `direct` writes frames
    into its send buffer, `fast` reads with an own parser too. `auto` takes the fastest that the
    installed version is known to bear."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is out of range or two of them contradict each other.
        """
        if not self.servers:
            msg = "at least one server address is needed"
            raise ValueError(msg)
        for name in ("ping_interval", "connect_timeout", "request_timeout", "max_pending_bytes"):
            if getattr(self, name) <= 0:
                msg = f"{name} must be positive"
                raise ValueError(msg)
        if not 0 < self.reconnect_initial_interval <= self.reconnect_maximum_interval:
            msg = "reconnect intervals must be positive, the initial one not the greater"
            raise ValueError(msg)
        if (self.user is None) != (self.password is None):
            msg = "user and password belong together"
            raise ValueError(msg)
