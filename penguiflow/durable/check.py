"""What a flow may not use when it is spread over workers, found before it starts. Pure."""

from __future__ import annotations

import dis
from collections import Counter
from types import CodeType
from typing import Any

from penguiflow.durable.topology import EGRESS_TOKEN, TIMERS, FlowNotDurable
from penguiflow.graph import Graph
from penguiflow.node import Node

_LOCAL_ONLY = ("fetch", "fetch_any", "fetch_nowait")
_RESERVED = {EGRESS_TOKEN, TIMERS, "@egress", "OpenSea", "Rookery"}


def check_durable(graph: Graph) -> None:
    """Raises `FlowNotDurable`, naming the node and the reason, when the flow cannot be spread."""
    problems = [*_names(graph), *(p for node in graph.nodes for p in _uses(node))]
    if not graph.nodes:
        problems.append("the flow has no nodes")
    elif not graph.ingress:
        problems.append("the flow has no ingress node: every node has a parent")
    if problems:
        raise FlowNotDurable("this flow cannot be spread over workers: " + "; ".join(problems))


def _names(graph: Graph) -> list[str]:
    counts = Counter(str(node.name) for node in graph.nodes)
    problems = [
        f"node {name!r}: {count} nodes have this name; durable nodes are known by their names"
        for name, count in counts.items()
        if count > 1
    ]
    problems.extend(f"node {name!r}: the name is reserved" for name in counts if name in _RESERVED)
    return problems


def _uses(node: Node) -> list[str]:
    if node.join is not None and node.policy.order_by is not None:
        return [f"node {node.name!r} is a join and has order_by: it joins in the log's order"]
    code: Any = getattr(node.func, "__code__", None)
    if not isinstance(code, CodeType) or code.co_argcount < 1:
        return []
    return [
        f"node {node.name!r} calls ctx.{name}(): its input is delivered one by one and settled "
        "with its result; use join_k, or return the messages and join them in a node of its own"
        for name in _LOCAL_ONLY
        if _calls_on_context(code, name)
    ]


def _calls_on_context(code: CodeType, attribute: str) -> bool:
    """Whether the function loads this attribute from its last positional parameter."""
    context = code.co_varnames[code.co_argcount - 1]
    previous = None
    for instruction in dis.get_instructions(code):
        on_context = (
            previous is not None
            and previous.opname.startswith("LOAD_")
            and previous.argval == context
        )
        loads = instruction.opname in ("LOAD_METHOD", "LOAD_ATTR")
        if loads and on_context and instruction.argval == attribute:
            return True
        previous = instruction
    return False
