"""Routing policies: where a router sends a message, decided outside of the flow's code.

RoutingPolicy        the protocol; any callable that takes a request will do as well
RoutingRequest       what a policy is asked
DictRoutingPolicy    a table from keys to decisions, from JSON or an environment variable
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from penguiflow.context import Place
from penguiflow.node import Node

if TYPE_CHECKING:
    from penguiflow.context import Context

RoutingDecisionType = Place | str | Sequence[Place | str] | None
"""Nodes or their names, one or several; None or nothing drops the message."""


@dataclass(frozen=True)
class RoutingRequest:
    """A router asks where a message goes."""

    message: Any
    context: Context
    node: Node
    """The router."""
    proposed: tuple[Place, ...]
    """Where the router would send it."""
    trace_id: str | None

    @property
    def node_name(self) -> str | None:
        """Name of the router."""
        return self.node.name

    @property
    def proposed_names(self) -> list[str]:
        """Names of the proposed successors."""
        return [str(place.name) for place in self.proposed]


@runtime_checkable
class RoutingPolicy(Protocol):
    """Decides where a router sends a message."""

    def select(
        self, request: RoutingRequest
    ) -> RoutingDecisionType | Awaitable[RoutingDecisionType]:
        """The decision; sync or async."""


PolicyCallable = Callable[[RoutingRequest], RoutingDecisionType | Awaitable[RoutingDecisionType]]
PolicyLike = RoutingPolicy | PolicyCallable

KeyGetter = Callable[[RoutingRequest], str | None]
"""What a request is looked up by."""

Loader = Callable[[str], Mapping[str, RoutingDecisionType]]
"""Turns a text into the table of a `DictRoutingPolicy`."""


async def evaluate_policy(policy: PolicyLike, request: RoutingRequest) -> RoutingDecisionType:
    """What the policy decides: an object with `select` or a callable, sync or async."""
    ask = policy.select if isinstance(policy, RoutingPolicy) else policy
    decision = ask(request)
    return await decision if inspect.isawaitable(decision) else decision


class DictRoutingPolicy:
    """A table from keys to decisions; the key is the trace id unless `key_getter` says otherwise.

    A key that is not in the table gets `default`; None drops the message.

    Raises:
        TypeError: the table is no mapping.
    """

    def __init__(
        self,
        mapping: Mapping[str, RoutingDecisionType],
        *,
        default: RoutingDecisionType = None,
        key_getter: KeyGetter | None = None,
    ) -> None:
        self._mapping = _checked(mapping)
        self._default = default
        self._key_getter = key_getter if key_getter is not None else _trace_id

    def select(self, request: RoutingRequest) -> RoutingDecisionType:
        """The decision for the request's key."""
        key = self._key_getter(request)
        return self._default if key is None else self._mapping.get(key, self._default)

    def update_mapping(self, mapping: Mapping[str, RoutingDecisionType]) -> None:
        """Replace the table. Raises `TypeError` when it is no mapping."""
        self._mapping = _checked(mapping)

    def set_default(self, decision: RoutingDecisionType) -> None:
        """Replace the decision for keys that are not in the table."""
        self._default = decision

    @classmethod
    def from_json(
        cls,
        text: str,
        *,
        default: RoutingDecisionType = None,
        key_getter: KeyGetter | None = None,
    ) -> DictRoutingPolicy:
        """A table from a JSON object. Raises `ValueError` and `TypeError`."""
        return cls(_checked(json.loads(text)), default=default, key_getter=key_getter)

    @classmethod
    def from_json_file(
        cls,
        path: str | os.PathLike[str],
        *,
        default: RoutingDecisionType = None,
        key_getter: KeyGetter | None = None,
    ) -> DictRoutingPolicy:
        """A table from a file with a JSON object. Raises `OSError` and as `from_json`."""
        text = Path(path).read_text("utf-8")
        return cls.from_json(text, default=default, key_getter=key_getter)

    @classmethod
    def from_env(
        cls,
        env_var: str,
        *,
        loader: Loader | None = None,
        default: RoutingDecisionType = None,
        key_getter: KeyGetter | None = None,
    ) -> DictRoutingPolicy:
        """A table from an environment variable; `loader` reads its text, as JSON by default.

        Raises:
            KeyError: the variable is not set.
            TypeError: what it holds is no mapping.
        """
        if env_var not in os.environ:
            msg = f"environment variable '{env_var}' is not set"
            raise KeyError(msg)
        load = loader if loader is not None else json.loads
        return cls(_checked(load(os.environ[env_var])), default=default, key_getter=key_getter)


def _checked(mapping: object) -> dict[str, RoutingDecisionType]:
    if not isinstance(mapping, Mapping):
        msg = f"a routing table is a mapping of keys to targets; got {type(mapping).__name__}"
        raise TypeError(msg)
    return dict(mapping)


def _trace_id(request: RoutingRequest) -> str | None:
    return request.trace_id


__all__ = [
    "DictRoutingPolicy",
    "PolicyCallable",
    "PolicyLike",
    "RoutingDecisionType",
    "RoutingPolicy",
    "RoutingRequest",
    "evaluate_policy",
]
