"""A link that also reads with an own parser, and calls subscriptions as frames are found.

nats-py spends most of its time per message in up to eight regular expressions on a growing buffer,
in a header dictionary and in a queue with a task behind it. Here the frame's end is searched for,
headers stay bytes until somebody asks, and the callback is called on the spot. Connecting, TLS,
authentication and pings stay nats-py's.
"""

# The private names below are those that `natspy.internals_known` checks.
# ruff: noqa: SLF001

import contextlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nats.aio.client import Client
from nats.errors import ProtocolError

from penguiflow_nats.direct import DirectLink
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.link import Callback, Interest, ignore

_H = b"H"[0]
_MH = frozenset(b"MH")
_MAX_LINE = 64 * 1024

Foreign = tuple[bytes, bytes, bytes, bytes, bytes]
"""A frame for one of nats-py's own subscriptions: sid, subject, reply, payload, header block."""


class FrameParser:
    """Takes the place of nats-py's parser in one client."""

    def __init__(self, client: Any) -> None:
        """Parse for a client, that handles everything but messages of known subscriptions."""
        self.client = client
        self.interests: dict[bytes, Interest] = {}
        self.on_callback_error: Callable[[str, Exception], None] = _unheard
        self.reset()

    def reset(self) -> None:
        """Forget a frame that is not complete. nats-py calls this between connections."""
        self._parts: list[bytes] = []
        self._have = 0
        self._needed = 0

    async def parse(self, data: bytes = b"") -> None:
        """Handle what arrived. An incomplete frame waits for the next call.

        Raises:
            ProtocolError: The bytes are not the client protocol; the connection is void.
        """
        if self._parts:
            # A large frame comes in many pieces: joined once, when all are there.
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._needed:
                return
            data = b"".join(self._parts)
            self.reset()
        position = 0
        try:
            while True:
                position, event = self._scan(data, position)
                if event is None:
                    break
                await self._handle(event)
        except (ValueError, IndexError) as error:
            raise ProtocolError from error
        if position < len(data):
            self._parts = [data[position:]]
            self._have = len(data) - position

    def _scan(self, data: bytes, start: int) -> tuple[int, bytes | Foreign | None]:
        """Deliver frames until something has to be awaited or the rest is not complete."""
        end, find, interests = len(data), data.find, self.interests
        messages = size = 0
        event: bytes | Foreign | None = None
        while start < end:
            line_end = find(b"\r\n", start)
            if line_end < 0:
                self._await_line(end - start)
                break
            first = data[start]
            if first not in _MH:
                event, start = data[start:line_end], line_end + 2
                break
            # [H]MSG subject sid [reply] [header width] total
            words = data[start:line_end].split()
            width = int(words[-2]) if first == _H else 0
            body = line_end + 2
            stop = body + int(words[-1])
            if stop + 2 > end:
                self._needed = stop + 2 - start
                break
            start = stop + 2
            messages += 1
            reply = words[3] if len(words) == (6 if width else 5) else b""
            payload = data[body + width : stop]
            size += len(payload)
            head = data[body : body + width] if width else None
            interest = interests.get(words[2])
            if interest is None:
                event = (words[2], words[1], reply, payload, head or b"")
                break
            try:
                interest.callback(interest.kind(words[1].decode(), reply.decode(), payload, head))
            except Exception as error:  # noqa: BLE001 - one bad message must not end the reading
                self.on_callback_error(interest.subject, error)
        self._count(messages, size)
        return start, event

    def _await_line(self, have: int) -> None:
        if have > _MAX_LINE:
            raise ValueError(have)
        self._needed = 0

    def _count(self, messages: int, size: int) -> None:
        stats = self.client.stats
        stats["in_msgs"] += messages
        stats["in_bytes"] += size

    async def _handle(self, event: bytes | Foreign) -> None:
        client = self.client
        if isinstance(event, tuple):
            sid, subject, reply, payload, head = event
            # It counts the message itself.
            self._count(-1, -len(payload))
            await client._process_msg(int(sid), subject, reply, payload, head)
        elif event.startswith(b"PING"):
            await client._process_ping()
        elif event.startswith(b"PONG"):
            await client._process_pong()
        elif event.startswith(b"INFO"):
            await client._process_info(json.loads(event[4:]))
        elif event.startswith(b"-ERR"):
            await client._process_err(event[4:].strip().decode("utf-8", "replace").lower())
        elif not event.startswith(b"+OK"):
            raise ValueError(event[:80])


class FastClient(Client):
    """A nats-py client that reads with `FrameParser`."""

    def __init__(self) -> None:
        """Create a client that is not connected."""
        super().__init__()
        self.frames = FrameParser(self)
        self._ps = self.frames  # type: ignore[assignment]


class FastLink(DirectLink):
    """See `Link` for what the methods promise."""

    client: FastClient

    def __init__(
        self, client: FastClient, on_callback_error: Callable[[str, Exception], None]
    ) -> None:
        """Take a connected client over."""
        super().__init__(client, on_callback_error)
        client.frames.on_callback_error = on_callback_error
        self._known = client.frames.interests

    def subscribe(
        self, subject: str, queue: str, callback: Callback, kind: type[Incoming]
    ) -> Interest:
        """Ask for messages."""
        interest = Interest(subject, queue, callback, kind)
        client = self.client
        client._sid += 1
        interest.sid = b"%d" % client._sid
        self._known[interest.sid] = interest
        self._interests.add(interest)
        self._send(f"SUB {subject} {queue} ".encode() + interest.sid + b"\r\n")
        return interest

    def _forget(self, interest: Interest) -> None:
        self._interests.discard(interest)
        self._known.pop(interest.sid, None)
        interest.callback = ignore


def _unheard(subject: str, error: Exception) -> None:
    """Nobody asked yet."""


class _Probe:
    """Stands in for a client in the self-test."""

    def __init__(self) -> None:
        self.stats = {"in_msgs": 0, "in_bytes": 0}
        self.seen: list[Any] = []

    async def _process_ping(self) -> None:
        self.seen.append("ping")

    async def _process_msg(self, sid: int, *frame: bytes) -> None:
        self.seen.append((sid, *frame))


_SAMPLE = (
    b"MSG a.b 1 2\r\nhi\r\nHMSG c 1 d.e 17 20\r\nNATS/1.0\r\nA:b\r\n\r\nyou\r\nPING\r\n"
    b"MSG f 7 _R.1 0\r\n\r\n+OK\r\nMSG g 1 4\r\n\r\n\r\n\r\n"
)
_EXPECTED = [
    ("a.b", "", b"hi", None),
    ("c", "d.e", b"you", {"A": "b"}),
    "ping",
    (7, b"f", b"_R.1", b"", b""),
    ("g", "", b"\r\n\r\n", None),
]


@lru_cache(maxsize=1)
def self_test() -> bool:
    """Whether the parser finds known frames, cut at any place."""
    for cut in range(1, len(_SAMPLE)):
        probe = _Probe()
        parser = FrameParser(probe)

        def hear(message: Incoming, probe: _Probe = probe) -> None:
            probe.seen.append((message.subject, message.reply, message.data, message.headers))

        parser.interests[b"1"] = Interest("", "", hear, Incoming)
        for piece in (_SAMPLE[:cut], _SAMPLE[cut:]):
            # Nothing in the sample suspends, so one step runs it to its end.
            with contextlib.suppress(StopIteration, ProtocolError):
                parser.parse(piece).send(None)
        if probe.seen != _EXPECTED or probe.stats["in_msgs"] + 1 != len(_EXPECTED) - 1:
            return False
    return True
