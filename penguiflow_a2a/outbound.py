"""Where this process may connect to on somebody else's word: webhooks, agents, their cards.

An address is checked when it is registered, and again when it is dialled: names are looked up by
us, every address that they have is checked, and the connection goes to an address that was
checked, so that a name that changes its mind in between wins nothing.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from penguiflow_a2a.outbound_addresses import IPAddress, objection_to, parse_host

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks a name up: its addresses as text."""

PORTS: Final = frozenset({443, 8443})
_PORT_OF: Final = {"https": 443, "http": 80, "grpc": 443, "grpcs": 443}
_LONGEST_URL: Final = 2048
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_REFUSED_IN_URL = re.compile(r"[\x00-\x20\x7f-\uffff\\^`{}|<>\"]")


class OutboundRefused(ValueError):
    """This address may not be connected to. The text says why, and never repeats the address:
    it may hold a secret, and it goes to whoever named it."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address that the policy's rules for text allow."""

    scheme: str
    host: str
    """A name in lower case, or an IP address without brackets."""
    port: int
    address: IPAddress | None
    """When the host is an IP address."""

    @property
    def origin(self) -> str:
        """Scheme, host and port; credentials are bound to it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, by the resolver of the system."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundPolicy:
    """What may be connected to. One object for webhooks, agents, cards and their interfaces.

    By default: HTTPS to public addresses, on the usual ports, of any host. Nothing is redirected,
    and no proxy is taken from the environment.
    """

    allow_private: bool = False
    """For development: plain HTTP, any port, and private, loopback and link-local addresses."""
    hosts: frozenset[str] | None = None
    """Names that may be connected to, `*.example.com` for those below one; None for any."""
    ports: frozenset[int] = PORTS
    timeout: float = 10.0
    """Seconds for a request, its connection included; for a stream, seconds of silence."""
    max_bytes: int = 1024 * 1024
    """Bytes of an answer that is read whole."""
    resolve: Resolve = look_up

    def check_url(self, url: str) -> Target:
        """What an address leads to, by its text alone.

        Raises:
            OutboundRefused: it is malformed, holds credentials, or is not allowed.
        """
        if len(url) > _LONGEST_URL:
            msg = f"it is longer than {_LONGEST_URL} characters"
            raise OutboundRefused(msg)
        if _REFUSED_IN_URL.search(url):
            msg = "it holds a character that an address cannot have"
            raise OutboundRefused(msg)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            msg = "it is no address"
            raise OutboundRefused(msg) from None
        scheme = parts.scheme.lower()
        if "@" in parts.netloc:
            msg = "it holds a user name or a password; give credentials separately"
            raise OutboundRefused(msg)
        if parts.fragment:
            msg = "it has a fragment"
            raise OutboundRefused(msg)
        return self.check_place(scheme, host, _PORT_OF.get(scheme, 0) if port is None else port)

    def check_place(self, scheme: str, host: str, port: int) -> Target:
        """The same for an address in pieces."""
        if scheme not in _PORT_OF or (scheme == "http" and not self.allow_private):
            msg = "its scheme is not https"
            raise OutboundRefused(msg)
        host = host.lower().removesuffix(".")
        address = parse_host(host)
        if address is None:
            self._check_name(host)
        if not 0 < port < 65536 or (port not in self.ports and not self.allow_private):
            allowed = ", ".join(map(str, sorted(self.ports)))
            msg = f"its port is not one of {allowed} (OutboundPolicy.ports)"
            raise OutboundRefused(msg)
        if not self._is_listed(host):
            msg = "its host is not on the list (OutboundPolicy.hosts)"
            raise OutboundRefused(msg)
        if address is not None:
            self._check_address(address)
        return Target(scheme, host, port, address)

    @staticmethod
    def _check_name(host: str) -> None:
        labels = host.split(".")
        if not host or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            msg = "its host is no name"
            raise OutboundRefused(msg)
        # Some resolvers take 0x7f.1 and 2130706433 for addresses; no top-level domain looks so.
        if labels[-1].isdigit() or labels[-1].startswith("0x"):
            msg = "its host is a number that is no address in its usual form"
            raise OutboundRefused(msg)

    def _is_listed(self, host: str) -> bool:
        if self.hosts is None or host in self.hosts:
            return True
        parents = host.split(".")[1:]
        return any("*." + ".".join(parents[n:]) in self.hosts for n in range(len(parents)))

    def _check_address(self, address: IPAddress) -> None:
        problem = None if self.allow_private else objection_to(address)
        if problem is not None:
            msg = f"it leads to {problem}"
            raise OutboundRefused(msg)

    async def addresses_of(self, target: Target) -> Sequence[str]:
        """The addresses to connect to, all of them checked.

        Raises:
            OutboundRefused: one of them is not allowed, or there is none. A name that has allowed
                addresses beside others is refused as a whole.
        """
        if target.address is not None:
            self._check_address(target.address)
            return [target.host]
        try:
            async with asyncio.timeout(self.timeout):
                found = await self.resolve(target.host, target.port)
        except (OSError, UnicodeError, TimeoutError):
            msg = "its host has no address"
            raise OutboundRefused(msg) from None
        if not found:
            msg = "its host has no address"
            raise OutboundRefused(msg)
        for text in found:
            address = parse_host(text.lower())
            if address is None:
                msg = "its host has an address that is none"
                raise OutboundRefused(msg)
            self._check_address(address)
        return list(dict.fromkeys(found))

    async def check(self, url: str) -> Target:
        """Text and addresses. For what is registered now and dialled later: both are checked.

        Raises:
            OutboundRefused: as `check_url` and `addresses_of`.
        """
        target = self.check_url(url)
        await self.addresses_of(target)
        return target

    def check_interface(self, url: str, *, card: Target) -> Target:
        """The address of an interface that a card names: at the card's own host, or at one that
        is on the list. A card must not send callers, and their credentials, elsewhere.

        Raises:
            OutboundRefused: as `check_url`, or the card names another host.
        """
        target = self.check_url(url)
        if target.host != card.host and (self.hosts is None or not self._is_listed(target.host)):
            msg = "the card names another host; allow it by OutboundPolicy.hosts if it is right"
            raise OutboundRefused(msg)
        return target


def check_secret(text: str, what: str = "the token") -> str:
    """A text that goes into a header.

    Raises:
        OutboundRefused: it could end the header, or is no printable ASCII.
    """
    if not text.isascii() or not text.isprintable():
        msg = f"{what} holds a character that a header cannot have"
        raise OutboundRefused(msg)
    return text


__all__ = ["OutboundPolicy", "OutboundRefused", "Resolve", "Target", "check_secret", "look_up"]
