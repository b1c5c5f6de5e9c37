"""Diagrams of flows."""

from __future__ import annotations

import re

from penguiflow import Node, create, flow_to_dot, flow_to_mermaid
from tests.support.flows import passing, same


def flow():  # type: ignore[no-untyped-def]
    a, b, c = passing("a"), passing("b"), passing("c")
    loop = Node(same, name="think", allow_cycle=True)
    return create(a.to(c, b), b.to(loop), c.to(loop), loop.to(loop))


def test_mermaid() -> None:
    lines = [line.strip() for line in flow_to_mermaid(flow()).splitlines()]
    assert lines[0] == "graph TD"
    for expected in (
        'OpenSea["OpenSea"]', 'a["a"]', "OpenSea -->|ingress| a", "a --> b",
        "think -->|loop| think", "think -->|egress| Rookery", "class OpenSea endpoint",
        "class Rookery endpoint", "class think controller_loop",
    ):  # fmt: skip
        assert expected in lines
    assert lines.index("a --> c") < lines.index("a --> b")
    assert flow_to_mermaid(flow(), direction="LR").startswith("graph LR\n")


def test_order_is_not_random() -> None:
    nodes = [passing(f"n{i}") for i in range(20)]
    first = create(nodes[0].to(*nodes[1:]))
    again = create(nodes[0].to(*nodes[1:]))
    assert flow_to_mermaid(first) == flow_to_mermaid(again)
    targets = re.findall(r"n0 --> (n\d+)", flow_to_mermaid(first))
    assert targets == [f"n{i}" for i in range(1, 20)]


def test_ids_are_safe_and_different() -> None:
    a, b, c = passing("my node"), passing("my-node"), passing("my_node")
    text = flow_to_mermaid(create(a.to(b), b.to(c)))
    assert 'my_node["my node"]' in text
    assert 'my_node_2["my-node"]' in text
    assert 'my_node_3["my_node"]' in text
    assert "my_node --> my_node_2" in text
    assert 'OpenSea_2["OpenSea"]' in flow_to_mermaid(create(passing("OpenSea").to()))


def test_dot() -> None:
    text = flow_to_dot(flow())
    assert text.startswith("digraph ")
    assert "rankdir=TB\n" in text
    for expected in (
        'OpenSea -> a [label="ingress"]', "a -> b",
        'think -> think [label="loop"]', 'a [label="a"]',
        'think -> Rookery [label="egress"]',
    ):  # fmt: skip
        assert expected in text
    assert text.rstrip().endswith("}")
    assert "rankdir=LR\n" in flow_to_dot(flow(), rankdir="LR")


def test_quote_in_a_name_does_not_break_the_diagram() -> None:
    quoted = create(passing('say "hi" \\ now\n').to())
    assert r'[label="say \"hi\" \\ now\n"' in flow_to_dot(quoted)
    assert '["say #quot;hi#quot;' in flow_to_mermaid(quoted)


def test_empty_flow() -> None:
    assert flow_to_mermaid(create()) == "graph TD"
    assert "->" not in flow_to_dot(create())
