"""Agent cards: which interface of an agent is called, and for how long its card is remembered."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from a2a.client.card_resolver import parse_agent_card
from a2a.types.a2a_pb2 import AgentCard, AgentInterface
from google.protobuf.json_format import ParseError

from penguiflow_a2a.client.errors import AgentRefused
from penguiflow_a2a.outbound import OutboundPolicy, Target

WELL_KNOWN = "/.well-known/agent-card.json"
_LEGACY = "0.3"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that can be called."""

    url: str
    """As the caller names it."""
    card: AgentCard
    interface: AgentInterface
    target: Target
    """Where the interface is."""
    link: Any
    """The SDK's `ClientTransport` to it."""


Connect = Callable[[AgentCard, AgentInterface, Target], Awaitable[Any]]
Fetch = Callable[[str], Awaitable[Any]]


def card_url(agent_url: str) -> str:
    """Where the card of an agent is: the well-known path, unless the address is of a document."""
    parts = urlsplit(agent_url)
    if parts.path.endswith(".json"):
        return agent_url
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + WELL_KNOWN))


def read_card(content: Any) -> AgentCard:
    """A card. Raises `AgentRefused` when it is none."""
    try:
        # A copy, because the parser changes what it is given.
        return parse_agent_card(json.loads(json.dumps(content)))
    except (ParseError, TypeError, ValueError, AttributeError, KeyError) as error:
        msg = f"what was found at the address of the card is no agent card: {error}"
        raise AgentRefused(msg) from error


def choose(card: AgentCard, bindings: Sequence[str], *, legacy: bool) -> AgentInterface:
    """The first interface of the card that we speak.

    Raises:
        AgentRefused: there is none.
    """
    for interface in card.supported_interfaces:
        version = interface.protocol_version
        fits = version.split(".")[0] == "1" or (legacy and version.startswith(_LEGACY))
        if interface.protocol_binding in bindings and fits:
            return interface
    offered = ", ".join(
        f"{each.protocol_binding} {each.protocol_version}" for each in card.supported_interfaces
    )
    msg = (
        f"the agent offers {offered or 'no interface'}; this transport speaks "
        f"{', '.join(bindings)} 1.x{' and 0.3' if legacy else ''}"
    )
    raise AgentRefused(msg, reason="VersionNotSupported")


class Agents:
    """The agents that were called, by address; the oldest are forgotten.

    Args:
        policy: Where may be connected to.
        bindings: Which we speak.
        fetch: Fetches a card.
        connect: Connects to an interface.
        legacy: Whether agents of version 0.3 may be called.
        max_age: Seconds for which a card is believed.
        limit: Agents that are remembered.
    """

    def __init__(
        self,
        policy: OutboundPolicy,
        bindings: Sequence[str],
        *,
        fetch: Fetch,
        connect: Connect,
        legacy: bool = False,
        max_age: float = 300.0,
        limit: int = 256,
    ) -> None:
        self._policy = policy
        self._bindings = tuple(bindings)
        self._fetch = fetch
        self._connect = connect
        self._legacy = legacy
        self._max_age = max_age
        self._limit = limit
        self._known: OrderedDict[str, tuple[float, Agent]] = OrderedDict()
        self._asking: dict[str, asyncio.Lock] = {}

    async def agent(self, url: str, card: Mapping[str, Any] | None = None) -> Agent:
        """The agent at an address.

        Args:
            url: Its address.
            card: Its card, when the caller has it.

        Raises:
            OutboundRefused: the policy does not allow it, or what its card names.
            AgentRefused: it has no card, or no interface that we speak.
            httpx.HTTPError: its card cannot be fetched.
        """
        name = url if card is None else f"{url} {json.dumps(card, sort_keys=True, default=str)}"
        found = self._fresh(name)
        if found is not None:
            return found
        lock = self._asking.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                found = self._fresh(name)
                if found is None:
                    found = await self._open(url, card)
                    self._known[name] = (time.monotonic(), found)
                    while len(self._known) > self._limit:
                        self._known.popitem(last=False)
                return found
        finally:
            self._asking.pop(name, None)

    def forget(self, url: str) -> None:
        """Fetch the card anew next time: the agent may have moved."""
        for name in [each for each in self._known if each.split(" ")[0] == url]:
            del self._known[name]

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

    def _fresh(self, name: str) -> Agent | None:
        found = self._known.get(name)
        if found is None or time.monotonic() - found[0] > self._max_age:
            return None
        self._known.move_to_end(name)
        return found[1]

    async def _open(self, url: str, given: Mapping[str, Any] | None) -> Agent:
        place = self._policy.check_url(url)
        if given is None and place.scheme in ("grpc", "grpcs"):
            card = AgentCard(
                supported_interfaces=[
                    AgentInterface(url=url, protocol_binding="GRPC", protocol_version="1.0")
                ]
            )
            card.capabilities.streaming = True  # without a card one has to believe it
        else:
            card = read_card(given if given is not None else await self._fetch(card_url(url)))
        interface = choose(card, self._bindings, legacy=self._legacy)
        address = interface.url if "://" in interface.url else f"grpc://{interface.url}"
        target = self._policy.check_interface(address, card=place)
        return Agent(url, card, interface, target, await self._connect(card, interface, target))


__all__ = ["WELL_KNOWN", "Agent", "Agents", "card_url", "choose", "read_card"]
