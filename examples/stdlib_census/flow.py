"""A census of the running Python's own standard library, spread over worker processes.

    python examples/stdlib_census/flow.py

Every package is one message. It is split into its files, each file is parsed by whichever worker
has time, the figures of a package are joined, an agent in yet another process says a paragraph
about them, and a report is written. On the way one of the workers is killed; the last line says
what became of its work.

The flow below is the one object that all sides know: ``penguiflow worker flow.py:flow`` hosts its
nodes, and this program submits to them and collects what they answer.
"""

from __future__ import annotations

import sys

import census_bootstrap  # noqa: F401 - makes penguiflow importable
import census_nodes as nodes
from census_models import ModuleMetrics
from census_remote import summarising_agent

from penguiflow import Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.patterns import join_k


def _files_in_package(message: Message) -> int:
    return ModuleMetrics.model_validate(message.payload).files_in_package


def census_flow() -> PenguiFlow:
    """split -> parse -> package -> combine -> summarise -> report."""
    # A file that cannot be read just now is worth another attempt. The nodes validate themselves.
    policy = NodePolicy(validate="none", max_retries=2)
    split = Node(nodes.split, name="split", policy=policy)
    parse = Node(nodes.parse, name="parse", policy=policy)
    package = join_k("package", k=_files_in_package)
    combine = Node(nodes.package, name="combine", policy=policy)
    summarise = summarising_agent("summarise")
    report = Node(nodes.report, name="report", policy=policy)
    return create(
        split.to(parse),
        parse.to(package),
        package.to(combine),
        combine.to(summarise),
        summarise.to(report),
        name="census",
    )


flow = census_flow()

if __name__ == "__main__":
    from census_demo import main

    sys.exit(main(flow))
