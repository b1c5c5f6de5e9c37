"""A node: an async function with a name and a policy."""

from __future__ import annotations

import inspect
import uuid
import warnings
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penguiflow.join import Join
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.registry import ModelRegistry

NodeFunction = Callable[[Any, Any], Awaitable[Any]]

_VALIDATE_CHOICES = ("both", "in", "out", "none")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass
class NodePolicy:
    """How a node is validated, bounded in time and retried.

    `timeout_s`, `backoff_base` and `max_backoff` are seconds. Retry number n waits
    `backoff_base * backoff_mult ** (n - 1)` seconds, at most `max_backoff`, and `jitter` (0 to 1)
    shortens that by a random share. An exception of a type in `non_retryable` is not retried.
    `concurrency` is how many messages the node works on at once, per process: 1 by default in a
    local flow, where messages of one trace keep their order; as many as the worker has by default
    in a durable one.
    `order_by` gives the key of an input, for instance `lambda msg: msg.payload["account"]`. Inputs
    with equal keys are handled one after the other, in the order in which they came, whichever
    worker has them and however often one is tried again; those of different keys at once.
    """

    validate: str = "both"
    timeout_s: float | None = None
    max_retries: int = 0
    backoff_base: float = 0.5
    backoff_mult: float = 2.0
    max_backoff: float | None = None
    jitter: float = 0.0
    non_retryable: tuple[type[BaseException], ...] = ()
    concurrency: int | None = None
    order_by: Callable[[Any], Hashable] | None = None

    def __post_init__(self) -> None:
        if self.validate not in _VALIDATE_CHOICES:
            msg = "validate must be one of 'both', 'in', 'out', 'none'"
            raise ValueError(msg)
        if self.concurrency is not None and self.concurrency < 1:
            msg = "concurrency must be at least 1"
            raise ValueError(msg)


@dataclass(eq=False)
class Node:
    """An async function `async def name(message, ctx)` as a place in a flow.

    Raises:
        TypeError: the function is not declared with `async def`.
        ValueError: it does not take exactly two positional parameters.
    """

    func: NodeFunction
    name: str | None = None
    policy: NodePolicy = field(default_factory=NodePolicy)
    allow_cycle: bool = False
    join: Join | None = field(default=None, init=False, repr=False)
    """What the node joins, when it is a join."""
    node_id: str = field(init=False)
    validates_in: bool = field(init=False, repr=False)
    validates_out: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not _is_async(self.func):
            msg = "Node function must be declared with async def"
            raise TypeError(msg)
        self.name = self.name or getattr(self.func, "__name__", type(self.func).__name__)
        self._check_signature()
        self.node_id = uuid.uuid4().hex
        self.validates_in = self.policy.validate in ("both", "in")
        self.validates_out = self.policy.validate in ("both", "out")

    def _check_signature(self) -> None:
        parameters = list(inspect.signature(self.func).parameters.values())
        if len(parameters) != 2:
            msg = (
                f"Node '{self.name}' must accept exactly two parameters (message, ctx); "
                f"got {len(parameters)}"
            )
            raise ValueError(msg)
        if parameters[1].kind not in _POSITIONAL:
            msg = "Context parameter must be positional"
            raise ValueError(msg)

    def to(self, *nodes: Node) -> tuple[Node, tuple[Node, ...]]:
        """The edges from this node to its successors, for `create`."""
        return self, nodes

    async def invoke(self, message: Any, ctx: Context, *, registry: ModelRegistry | None) -> Any:
        """Run the function once: validate the input, await, validate the result.

        Without a registry nothing is validated; None passes as a result. A result that is no
        `Message` where one is registered is passed on with a `RuntimeWarning`.

        Raises:
            pydantic.ValidationError: input or result does not fit the registered model.
            KeyError: the node validates but is not registered.
        """
        name = self.name or ""
        validates = self.validates_in or self.validates_out
        if registry is None or not (validates or registry.has(name)):
            return await self.func(message, ctx)
        in_adapter, out_adapter = registry.adapters(name)
        if self.validates_in:
            message = in_adapter.validate_python(message)
        result = await self.func(message, ctx)
        if result is None:
            return None
        if registry.models(name)[1] is Message and not isinstance(result, Message):
            warnings.warn(
                f"Node '{name}' is registered with Message -> Message models but returned "
                f"{type(result).__name__}; headers and trace id are not carried on by it",
                RuntimeWarning,
                stacklevel=2,
            )
            return result
        return out_adapter.validate_python(result) if self.validates_out else result

    def __hash__(self) -> int:
        return hash(self.node_id)


def _is_async(func: Any) -> bool:
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(
        getattr(func, "__call__", None)  # noqa: B004 - asks how it is declared, not whether it is
    )


__all__ = ["Node", "NodePolicy"]
