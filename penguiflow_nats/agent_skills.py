"""Skills of an agent: what a handler is, what it is given, and what it gives.

A handler is one of

    async def handler(message, ctx):           # returns the result;
        await ctx.emit("a piece of text")      # streams by `ctx.emit`
        return result

    async def handler(message, ctx):           # an async generator
        yield "a piece of text"                # `str` or `Chunk` is a piece of the stream,
        yield Result(result)                   # `Result` is the result and comes last

    flow                                       # a `PenguiFlow`: its chunks, then its first result
    node                                       # a `Node`, as a flow of this node alone
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from penguiflow.durable.typemap import can_travel
from penguiflow.flow import PenguiFlow, create
from penguiflow.node import Node
from penguiflow.serving.handling import AuthRequired, Chunk, Emit, Rejected
from penguiflow.types import Message


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an async generator; nothing may be yielded after it."""

    value: Any


Ask: TypeAlias = Callable[[Any], Awaitable[Any]]


async def cannot_ask(question: Any) -> Any:
    """`ctx.ask` of a plain call."""
    msg = "the skill asks its caller, which a plain call cannot carry; make it a durable one"
    raise Rejected(msg, code="NOT_DURABLE")


def _no_limit() -> float | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentContext:
    """What a handler is given beside the message."""

    task_id: str
    """Identity of the call: the same in every attempt, so it is fit as an idempotency key."""
    skill: str
    tenant: str
    context_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 1
    """Which attempt this is, from 1. A caller drops what it heard of earlier ones."""
    traceparent: str | None = None
    credentials: Sequence[Any] = ()
    """What the caller answered to each `AuthRequired` of this task, the newest last."""
    streamed: Sequence[Chunk] = ()
    """What replicas streamed that died over this task, if the skill's `takeover` is "continue": the
    caller keeps it, so the handler streams what comes behind it."""
    _emit: Emit
    _ask: Ask = cannot_ask
    _left: Callable[[], float | None] = _no_limit

    async def emit(
        self, text: str, *, done: bool = False, meta: Mapping[str, Any] | None = None
    ) -> None:
        """Stream a piece of text; waits when the server does not keep up."""
        waiting = self._emit(text, done, meta)
        if waiting is not None:
            await waiting

    def remaining(self) -> float | None:
        """Seconds until nobody waits for the answer any more; None when there is no limit."""
        return self._left()

    async def ask(self, question: Any) -> Any:
        """Ask the caller, and wait for the payload of the answer.

        The task is `input-required` until a request with its id answers. The handler stays in
        memory meanwhile. If its replica dies, another one begins anew: it is given the answers
        that there are, so a handler must ask the same questions in the same order again.

        Raises:
            Rejected: the call is a plain one.
            NotEncodable: the question cannot travel.
        """
        return await self._ask(question)


Takeover: TypeAlias = Literal["restart", "continue"]

Handler: TypeAlias = Callable[[Message, AgentContext], Awaitable[Any] | AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Skill:
    """One thing that an agent can do."""

    name: str
    handler: Handler | PenguiFlow | Node | None = None
    """A node is served as a flow of its own. None takes the handler that `serve` is given."""
    input: Any = None
    """Type of the message's payload, a pydantic model for instance; None takes anything."""
    output: Any = None
    """Type of the result; None gives anything."""
    description: str = ""
    takeover: Takeover = "restart"
    """What a replica does that takes a call over from one that died. "restart": the handler begins
    anew, and the caller is told that what it heard is void. "continue": the handler is given what
    was streamed in `ctx.streamed` and goes on behind it, and the caller sees one stream."""

    def schema(self, which: str) -> dict[str, Any] | None:
        """JSON schema of "input" or "output"; None when there is no type."""
        kind = self.input if which == "input" else self.output
        return None if kind is None else TypeAdapter(kind).json_schema()


class BadHandler(TypeError):
    """A handler is neither an async function of (message, ctx), nor a node, nor a flow."""


def resolve(
    handler: Handler | PenguiFlow | Node | None, skills: Sequence[Skill | str] | None
) -> dict[str, Skill]:
    """The skills by name, each with its handler.

    Raises:
        BadHandler: a handler is missing or cannot be served.
        ValueError: two skills have one name, or one's takeover is unknown.
    """
    if skills is None:
        skills = [_default_name(handler)]
    found: dict[str, Skill] = {}
    flows: dict[int, PenguiFlow] = {}
    for each in skills:
        given = Skill(each) if isinstance(each, str) else each
        own = given.handler if given.handler is not None else handler
        if isinstance(own, Node):
            own = flows.setdefault(id(own), create(own.to(), name=own.name))
        if own is None or not (isinstance(own, PenguiFlow) or _kind(own)):
            msg = (
                f"skill {given.name!r} needs an async function of (message, ctx), a node or a flow"
            )
            raise BadHandler(msg)
        if given.name in found:
            msg = f"two skills are called {given.name!r}"
            raise ValueError(msg)
        if given.takeover not in typing.get_args(Takeover):
            msg = f"skill {given.name!r}: takeover is {given.takeover!r}; use restart or continue"
            raise ValueError(msg)
        if given.takeover == "continue" and isinstance(own, PenguiFlow):
            msg = f"skill {given.name!r} is a flow, which begins anew and cannot continue"
            raise BadHandler(msg)
        found[given.name] = replace(given, handler=own)
    return found


def _default_name(handler: Handler | PenguiFlow | Node | None) -> str:
    if isinstance(handler, PenguiFlow | Node):
        return handler.name or "default"
    return str(getattr(handler, "__name__", "default"))


def _kind(handler: Any) -> str:
    call = handler if inspect.isroutine(handler) else getattr(handler, "__call__", None)  # noqa: B004
    if inspect.isasyncgenfunction(call):
        return "generator"
    return "function" if inspect.iscoroutinefunction(call) else ""


async def call_handler(skill: Skill, message: Message, ctx: AgentContext, emit: Emit) -> Any:
    """Run a handler that is not a flow; gives the validated result.

    Raises:
        Rejected: the payload does not fit the skill's input.
        TypeError: what was yielded is neither a piece nor the result.
        ValueError: the result does not fit the skill's output.
        Exception: what the handler raised.
    """
    message = checked_input(skill, message)
    handler: Any = skill.handler
    if _kind(handler) == "function":
        return checked_output(skill, await handler(message, ctx))
    result: Result | None = None
    pieces = handler(message, ctx)
    try:
        async for piece in pieces:
            if result is not None:
                msg = f"skill {skill.name!r} yielded after its Result"
                raise ValueError(msg)
            if isinstance(piece, str):
                waiting = emit(piece, False, None)
            elif isinstance(piece, Chunk):
                waiting = emit(piece.text, piece.done, piece.meta)
            elif isinstance(piece, Result):
                result, waiting = piece, None
            else:
                msg = f"skill {skill.name!r} yielded {type(piece).__name__}, not str, Chunk, Result"
                raise TypeError(msg)
            if waiting is not None:
                await waiting
    finally:
        await pieces.aclose()
    return checked_output(skill, None if result is None else result.value)


def checked_input(skill: Skill, message: Message) -> Message:
    """The message with its payload as the skill wants it. Raises `Rejected`."""
    if skill.input is None:
        return message
    try:
        payload = TypeAdapter(skill.input).validate_python(message.payload)
    except ValidationError as error:
        raise Rejected(_explained(error), code="INVALID_INPUT") from None
    return message.model_copy(update={"payload": payload})


def checked_output(skill: Skill, value: Any) -> Any:
    """The result as the skill promises it. Raises `ValueError`."""
    if skill.output is None:
        return value
    try:
        return TypeAdapter(skill.output).validate_python(value)
    except ValidationError as error:
        msg = f"the result does not fit the output of skill {skill.name!r}: {_explained(error)}"
        raise ValueError(msg) from None


def _explained(error: ValidationError) -> str:
    """Where and why, without the values: they may be confidential."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'payload'}: {each['msg']}" for each in problems[:5]
    )


def types_of(skills: Iterable[Skill]) -> Iterator[type]:
    """Types that the skills' values may be of: of their schemas, of their handlers' annotations,
    and those that their handlers' modules define."""
    for skill in skills:
        for kind in (skill.input, skill.output):
            yield from (each for each in (kind, *typing.get_args(kind)) if can_travel(each))
        functions = [skill.handler]
        if isinstance(skill.handler, PenguiFlow):
            functions = [node.func for node in skill.handler.graph.nodes]
        for function in functions:
            yield from _of_module(getattr(function, "__module__", None) or "")


def _of_module(name: str) -> Iterator[type]:
    namespace = vars(sys.modules[name]) if name in sys.modules else {}
    for found in list(namespace.values()):
        if can_travel(found) and found.__module__ == name:
            yield found


__all__ = [
    "AgentContext",
    "AuthRequired",
    "BadHandler",
    "Chunk",
    "Emit",
    "Handler",
    "Rejected",
    "Result",
    "Skill",
    "call_handler",
    "checked_input",
    "checked_output",
    "resolve",
    "types_of",
]
