"""For tests of flows: run one message, look at what happened, let a node fail on purpose."""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from penguiflow.context import Context
from penguiflow.endpoints import Endpoint
from penguiflow.errors import FlowErrorCode
from penguiflow.metrics import FlowEvent
from penguiflow.node import Node
from penguiflow.types import Headers, Message

if TYPE_CHECKING:
    from penguiflow.flow import PenguiFlow
    from penguiflow.registry import ModelRegistry

_REMEMBERED = 64
"""Traces whose events are kept; the oldest is forgotten."""


class _Recorder:
    """Keeps the events of the last traces; a middleware."""

    def __init__(self) -> None:
        self._traces: OrderedDict[str, list[FlowEvent]] = OrderedDict()

    async def __call__(self, event: FlowEvent) -> None:
        if event.trace_id is not None:
            self._events(event.trace_id).append(event)

    def _events(self, trace_id: str) -> list[FlowEvent]:
        events = self._traces.setdefault(trace_id, [])
        self._traces.move_to_end(trace_id)
        if len(self._traces) > _REMEMBERED:
            self._traces.popitem(last=False)
        return events

    def begin(self, trace_id: str) -> None:
        """A new run of this trace: what was recorded of an earlier one goes."""
        self._events(trace_id).clear()

    def of(self, trace_id: str) -> tuple[FlowEvent, ...]:
        """What was recorded of a trace."""
        return tuple(self._traces.get(trace_id, ()))


_recorder = _Recorder()


async def run_one(
    flow: PenguiFlow,
    message: Message,
    *,
    registry: ModelRegistry | None = None,
    timeout_s: float = 1.0,
) -> Any:
    """Run the flow for one message and give its first result; the flow is stopped in any case.

    Args:
        flow: A flow that does not run.
        message: What to emit.
        registry: For `flow.run`.
        timeout_s: Seconds until the result.

    Raises:
        TypeError: the message is no `Message`.
        TimeoutError: there is no result in time.
    """
    given: object = message
    if not isinstance(given, Message):
        msg = f"run_one takes a Message, not {type(message).__name__}"
        raise TypeError(msg)
    if _recorder not in flow.middlewares:
        flow.add_middleware(_recorder)
    _recorder.begin(message.trace_id)
    flow.run(registry=registry)
    try:
        async with asyncio.timeout(timeout_s):
            await flow.emit(message)
            return await flow.fetch()
    finally:
        await flow.stop()


def get_recorded_events(trace_id: str) -> tuple[FlowEvent, ...]:
    """The FlowEvents of a trace that `run_one` ran, of the last 64 such traces."""
    return _recorder.of(trace_id)


def assert_node_sequence(trace_id: str, expected: Sequence[str]) -> None:
    """Check which nodes started in which order; the same node again and again counts once.

    Raises:
        AssertionError: the order was another one, or nothing was recorded.
    """
    actual: list[str | None] = []
    for event in get_recorded_events(trace_id):
        if event.event_type == "node_start" and (not actual or actual[-1] != event.node_name):
            actual.append(event.node_name)
    if actual != list(expected):
        msg = f"nodes of trace {trace_id} started in the order {actual}, not {list(expected)}"
        raise AssertionError(msg)


class Simulation:
    """What a simulated node has done so far."""

    def __init__(self) -> None:
        self.attempts = 0
        """How often it was called."""
        self.failures = 0
        """How often it failed."""


class SimulatedError(Protocol):
    """A node function that fails a number of times and then succeeds."""

    simulation: Simulation

    async def __call__(self, message: Any, ctx: Any) -> Any: ...


def simulate_error(
    node_name: str,
    code: FlowErrorCode | str,
    *,
    fail_times: int = 1,
    result: Any = None,
    result_factory: Callable[[Any], Any] | None = None,
    exception_type: type[Exception] = RuntimeError,
) -> SimulatedError:
    """A node function that raises "[CODE] simulated failure in NAME (attempt N)" at first.

    Args:
        node_name: Named in the exception.
        code: Named in the exception.
        fail_times: How many calls fail.
        result: What the later calls return; by default their message.
        result_factory: Instead of `result`: called with the message, sync or async.
        exception_type: What is raised.

    Raises:
        ValueError: `fail_times` is below one, or both results are given.
    """
    if fail_times < 1:
        msg = "fail_times must be >= 1"
        raise ValueError(msg)
    if result is not None and result_factory is not None:
        msg = "Specify only one of result or result_factory"
        raise ValueError(msg)

    def default(message: Any) -> Any:
        return message if result is None else result

    answer_of = result_factory if result_factory is not None else default
    shown_code = code.value if isinstance(code, FlowErrorCode) else str(code)
    done = Simulation()

    async def simulated(message: Any, ctx: Any) -> Any:
        done.attempts += 1
        if done.failures < fail_times:
            done.failures += 1
            where = f"{node_name} (attempt {done.attempts})"
            failure = f"[{shown_code}] simulated failure in {where}"
            raise exception_type(failure)
        answer = answer_of(message)
        return await answer if inspect.isawaitable(answer) else answer

    simulated.__name__ = node_name
    function = cast("SimulatedError", simulated)
    function.simulation = done
    return function


async def assert_preserves_message_envelope(
    node: Node | Callable[[Any, Any], Awaitable[Any]],
    *,
    message: Message | None = None,
    ctx: Any = None,
) -> Message:
    """Check that a node, or its function, gives a `Message` with the headers and trace it took.

    Args:
        node: What to call.
        message: What it is given; one of a test tenant by default.
        ctx: A detached context by default.

    Returns:
        What it gave.

    Raises:
        TypeError: it is not async.
        AssertionError: what it gave is no `Message`, or has another envelope.
    """
    func = node.func if isinstance(node, Node) else node
    called = getattr(func, "__call__", None)  # noqa: B004 - asks how it is declared
    if not (inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(called)):
        msg = "assert_preserves_message_envelope expects an async node"
        raise TypeError(msg)
    given = message if message is not None else Message(payload={}, headers=Headers(tenant="test"))
    headers, trace_id = given.headers.model_copy(), given.trace_id
    context = ctx if ctx is not None else Context(Endpoint("testkit"))
    taken = await func(given, context)
    name = node.name if isinstance(node, Node) else getattr(func, "__name__", type(func).__name__)
    if not isinstance(taken, Message):
        problem = f"Node '{name}' must return a Message but produced {type(taken).__name__}"
        raise AssertionError(problem)  # noqa: TRY004 - the contract of an assertion
    before: dict[str, Any] = {"headers": headers, "trace_id": trace_id}
    after: dict[str, Any] = {"headers": taken.headers, "trace_id": taken.trace_id}
    changed = [key for key, value in before.items() if after[key] != value]
    if changed:
        how = "; ".join(f"{key} was {before[key]!r}, is {after[key]!r}" for key in changed)
        problem = (
            f"Node '{name}' altered Message {', '.join(changed)}; preserve the envelope ({how})"
        )
        raise AssertionError(problem)
    return taken


__all__ = [
    "assert_node_sequence",
    "assert_preserves_message_envelope",
    "get_recorded_events",
    "run_one",
    "simulate_error",
]
