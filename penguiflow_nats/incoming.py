"""A message as it came from the server."""

from typing import TypeAlias

import msgspec

from penguiflow_nats.protocol import parse_headers, parse_status


class Incoming(msgspec.Struct, eq=False):
    """One received message. A Struct, because its constructor runs for every message.

    Attributes:
        subject: Subject it was published to.
        reply: Subject for answers, or "".
        data: Payload.
        head: Header block as bytes, or the headers as nats-py parsed them; None without headers.
    """

    subject: str
    reply: str
    data: bytes
    head: bytes | dict[str, str] | None
    _headers: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.subject!r}, {len(self.data)} bytes)"

    @property
    def headers(self) -> dict[str, str] | None:
        """Headers, parsed on first use; None when the message has none."""
        if self.head is None:
            return None
        if self._headers is None:
            head = self.head
            self._headers = dict(head) if isinstance(head, dict) else parse_headers(head)
        return self._headers or None

    @property
    def status(self) -> int:
        """Status that the *server* put into the first line of the block; 0 without one."""
        return 0 if self.head is None else self.status_line()[0]

    def status_line(self) -> tuple[int, str]:
        """Status and its description, `(0, "")` without one.

        A header that is *named* `Status` is content, and any publisher may write it. In the raw
        block the two differ by place. nats-py merges them, so there a status counts only in an
        empty message that begins with it, which is how the server writes one.
        """
        head = self.head
        if head is None:
            return 0, ""
        if isinstance(head, bytes):
            return parse_status(head)
        status = head.get("Status", "")
        if self.data or not status.isdigit() or next(iter(head)) != "Status":
            return 0, ""
        return int(status), head.get("Description", "").strip()


Reply: TypeAlias = Incoming
"""The answer to a request is an incoming message."""
