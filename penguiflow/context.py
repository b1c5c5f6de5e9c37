"""What a node is given beside its message: where it can send, and what it may call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.endpoints import Endpoint
from penguiflow.node import Node
from penguiflow.types import Message, StreamChunk

if TYPE_CHECKING:
    from penguiflow.invocation import Invocation
    from penguiflow.join import Join
    from penguiflow.playbooks import PlaybookFactory

NO_MESSAGES = "no messages available"

Place = Node | Endpoint
Target = Node | Endpoint | str
Targets = Target | Sequence[Target] | None


class Site(Protocol):
    """The flow, as seen by a context."""

    def places(self, owner: Place) -> Sequence[Place]:
        """Where the owner's edges lead, in declaration order."""

    def depths(self, source: Place) -> tuple[int, int, int, int]:
        """(messages waiting before, behind, outgoing edges, maximum per edge)."""

    async def send(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        """Send a value along the owner's edges."""

    async def send_later(
        self, run: Invocation | None, owner: Place, value: Any, to: Targets, delay: float
    ) -> None:
        """Send a value so that it arrives after `delay` seconds."""

    def send_nowait(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        """The same at once, or `asyncio.QueueFull`."""

    async def send_chunk(
        self,
        run: Invocation | None,
        owner: Place,
        chunk: ChunkRequest,
        to: Targets,
    ) -> StreamChunk:
        """Number a chunk and send it."""

    async def receive(self, owner: Place, from_: Targets) -> Any:
        """The next value on the owner's incoming edges."""

    def receive_nowait(self, owner: Place, from_: Targets) -> Any:
        """The same at once, or `asyncio.QueueEmpty`."""

    def now(self) -> float:
        """Seconds since the epoch by the clock that deadlines are judged by."""

    def idempotency_key(self, run: Invocation) -> str:
        """The id of (tenant, trace, node, input)."""

    def collect(
        self, run: Invocation | None, owner: Place, trace_id: str, message: Any, join: Join
    ) -> Any:
        """Add a message to what a join node has collected; the group when it is complete."""

    def ensure_trace_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets."""


class ChunkRequest:
    """A chunk before it has its number."""

    __slots__ = ("done", "meta", "parent", "seq", "stream_id", "text")

    def __init__(
        self,
        parent: Message,
        text: str,
        *,
        stream_id: str | None,
        seq: int | None,
        done: bool,
        meta: Mapping[str, Any] | None,
    ) -> None:
        self.parent: Message = parent
        self.text: str = text
        self.stream_id: str = stream_id if stream_id is not None else parent.trace_id
        self.seq: int | None = seq
        self.done: bool = done
        self.meta: dict[str, Any] = dict(meta) if meta else {}

    def numbered(self, seq: int) -> tuple[StreamChunk, Message]:
        """The chunk, and the message it travels in."""
        chunk = StreamChunk(
            stream_id=self.stream_id, seq=seq, text=self.text, done=self.done, meta=self.meta
        )
        parent = self.parent
        message = Message(
            payload=chunk,
            headers=parent.headers,
            trace_id=parent.trace_id,
            deadline_s=parent.deadline_s,
            meta=dict(parent.meta),
        )
        return chunk, message


@runtime_checkable
class Runtime(Protocol):
    """A flow that contexts can be made for by hand."""

    @property
    def site(self) -> Site:
        """The flow, as seen by a context."""

    def edges_of(self, owner: Place) -> Mapping[Place, Any]:
        """The edges that lead away from a place, by where they lead."""


class Context:
    """The node's side of its flow. `runtime` is the flow, or None when detached."""

    __slots__ = ("_run", "_site", "owner", "runtime")

    def __init__(
        self,
        owner: Place,
        runtime: Any = None,
        site: Site | None = None,
        run: Invocation | None = None,
    ) -> None:
        """A context of `owner`; `site` and `run` are for the workers of a flow."""
        self.owner: Place = owner
        self.runtime: Any = runtime
        self._site: Site | None = site
        self._run = run
        if site is None and isinstance(runtime, Runtime):
            self._site = runtime.site

    @classmethod
    def of_run(cls, run: Invocation, runtime: Any, site: Site) -> Context:
        """The context of one run of a node."""
        return cls(run.node, runtime, site, run)

    @property
    def is_attached(self) -> bool:
        """Whether the context belongs to a flow."""
        return self._site is not None

    @property
    def _outgoing(self) -> Mapping[Place, Any]:
        """Successor to edge. Deprecated: use `successor(name)`, or names in `to=`."""
        if isinstance(self.runtime, Runtime):
            return self.runtime.edges_of(self.owner)
        return dict.fromkeys(self._site.places(self.owner)) if self._site else {}

    @property
    def idempotency_key(self) -> str:
        """An id for side effects outside: the same in every attempt on the same input.

        Raises:
            RuntimeError: the context belongs to no run of a node.
        """
        if self._run is None:
            msg = "only a running node has an idempotency key"
            raise RuntimeError(msg)
        return self._attached().idempotency_key(self._run)

    @property
    def attempt(self) -> int:
        """How many attempts on this input were made before, from 0."""
        return self._run.delivery.attempt if self._run is not None else 0

    def now(self) -> float:
        """Seconds since the epoch by the clock that deadlines are judged by.

        In a durable flow that is the server's, whatever this machine's clock says. A node that
        looks at a message's `deadline_s`, or sets one, does so by this.
        """
        return SYSTEM_CLOCK.now() if self._site is None else self._site.now()

    def outgoing_count(self) -> int:
        """How many edges lead away from the owner."""
        return len(self._site.places(self.owner)) if self._site is not None else 0

    def successor(self, name: str) -> Place:
        """The successor of this name. Raises `KeyError`."""
        for place in self._attached().places(self.owner):
            if place.name == name:
                return place
        msg = f"No successor named '{name}'"
        raise KeyError(msg)

    def queue_depth_in(self) -> int:
        """Messages waiting before the owner."""
        return self._site.depths(self.owner)[0] if self._site is not None else 0

    def queue_depth_out(self) -> int:
        """Messages waiting behind the owner."""
        return self._site.depths(self.owner)[1] if self._site is not None else 0

    async def emit(self, msg: Any, to: Targets = None, *, delay_s: float | None = None) -> None:
        """Send a value to all successors, or to some: nodes, names, or `ROOKERY` for the egress.

        Args:
            msg: The value.
            to: Where to; all successors by default.
            delay_s: It arrives so many seconds from now. In a durable flow it does so whatever
                is restarted meanwhile, in this process only as long as the flow is not dropped.

        Raises:
            KeyError: "Unknown target X for Y".
            RuntimeError: the context is not attached to a running flow.
            ValueError: the delay is no time from now on, or longer than anything is kept.
        """
        if delay_s is None:
            await self._attached().send(self._run, self.owner, msg, to)
        else:
            await self._attached().send_later(self._run, self.owner, msg, to, delay_s)

    def emit_nowait(self, msg: Any, to: Targets = None) -> None:
        """As `emit`, at once. Raises also `asyncio.QueueFull`."""
        self._attached().send_nowait(self._run, self.owner, msg, to)

    async def fetch(self, from_: Targets = None) -> Any:
        """The next value on the incoming edges, or on those from some nodes.

        Raises:
            RuntimeError: the owner has no incoming edges.
        """
        return await self._receiving().receive(self.owner, from_)

    async def fetch_any(self, from_: Targets = None) -> Any:
        """The same as `fetch`."""
        return await self.fetch(from_)

    def fetch_nowait(self, from_: Targets = None) -> Any:
        """As `fetch`, at once. Raises `asyncio.QueueEmpty`, also where nothing can arrive."""
        if self._site is None:
            raise asyncio.QueueEmpty(NO_MESSAGES)
        return self._site.receive_nowait(self.owner, from_)

    async def emit_chunk(
        self,
        *,
        parent: Message,
        text: str,
        stream_id: str | None = None,
        seq: int | None = None,
        done: bool = False,
        meta: Mapping[str, Any] | None = None,
        to: Targets = None,
    ) -> StreamChunk:
        """Send a piece of streamed text; returns it with its number."""
        request = ChunkRequest(parent, text, stream_id=stream_id, seq=seq, done=done, meta=meta)
        return await self._attached().send_chunk(self._run, self.owner, request, to)

    def collect(self, trace_id: str, message: Any, join: Join) -> Any:
        """Add a message to what this node, a join, has collected of a trace.

        Returns:
            What the group becomes when it is complete, else None.
        """
        return self._attached().collect(self._run, self.owner, trace_id, message, join)

    async def call_playbook(
        self, playbook: PlaybookFactory, parent_msg: Message, *, timeout: float | None = None
    ) -> Any:
        """Run a subflow on a message; returns the payload of its first result.

        Raises:
            TimeoutError: after `timeout` seconds.
            TraceCancelled: the parent's trace was cancelled.
            FlowError: a node of the subflow failed for good.
        """
        from penguiflow.playbooks import call_playbook

        return await call_playbook(playbook, parent_msg, timeout, runtime=self._site)

    def _receiving(self) -> Site:
        if self._site is None:
            raise no_incoming()
        return self._site

    def _attached(self) -> Site:
        if self._site is None:
            msg = "Context is not attached to a running flow"
            raise RuntimeError(msg)
        return self._site


def no_incoming() -> RuntimeError:
    """What a fetch raises where nothing can arrive."""
    return RuntimeError("context has no incoming floes to fetch from")


def names_of(to: Targets) -> list[Target]:
    """The targets as a list."""
    if isinstance(to, (str, Node, Endpoint)):
        return [to]
    return list(to or ())


def resolve(owner: Place, places: Sequence[Place], to: Targets) -> list[Place]:
    """The places a `to` names. Raises `KeyError("Unknown target X for Y")`."""
    if to is None:
        return list(places)
    resolved: list[Place] = []
    for target in names_of(to):
        for place in places:
            if place is target or (isinstance(target, str) and place.name == target):
                resolved.append(place)
                break
        else:
            name = target if isinstance(target, str) else target.name
            msg = f"Unknown target {name} for {owner.name}"
            raise KeyError(msg)
    return resolved


__all__ = ["Context"]
