"""The flow: its consumers, and its nodes' policies against lease, windows and retention. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from penguiflow.durable.topology import Topology
from penguiflow.node import Node
from penguiflow.retry import backoff
from penguiflow_nats.doctor_findings import Case, Facts, Finding, period
from penguiflow_nats.stream_types import SECOND, ConsumerInfo

_RETRIES_COUNTED = 10_000
_SHARE = 0.5
"""Of the retention: more leaves no room for waiting in queues."""


def _consumers(
    facts: Facts, case: Case
) -> Iterator[tuple[Topology, Node, str, ConsumerInfo | None]]:
    """Each node with its consumer's name and what the server knows of it."""
    topology = case.topology
    if topology is None or case.names.log_stream not in facts.streams:
        return
    for node in topology.graph.nodes:
        name = case.names.consumer(topology.tokens[str(node.name)])
        yield topology, node, name, facts.consumers.get((case.names.log_stream, name))


def check_consumers(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether each node has the consumer that the flow means it to have."""
    stream = case.names.log_stream
    known = set()
    for topology, node, name, found in _consumers(facts, case):
        known.add(name)
        if found is None:
            yield Finding(
                id="consumer-missing",
                severity="warning",
                where=f"node {node.name}",
                evidence=f"no worker ever hosted it: stream {stream} has no consumer {name}",
                fix="start a worker that hosts the node: `penguiflow worker module:flow`",
            )
            continue
        for text, severe in _differences(topology, node, case, found):
            yield Finding(
                id="consumer-drift",
                severity="error" if severe else "warning",
                where=f"consumer {name}",
                evidence=text,
                fix="restart a worker of the flow, which sets its consumers, with the lease and "
                "concurrency that are meant",
            )
    if known:
        yield from _orphans(facts, case, known)


def _differences(
    topology: Topology, node: Node, case: Case, found: ConsumerInfo
) -> Iterator[tuple[str, bool]]:
    """What differs, and whether messages stay away for it."""
    config, spec = found.config, topology.consumer(node)
    filters = sorted(config.filter_subjects or [config.filter_subject])
    wanted = sorted(case.names.filters(spec.patterns))
    if filters != wanted:
        missing = sorted(set(wanted) - set(filters))
        yield f"it reads {', '.join(filters)}; not {', '.join(missing) or 'so much'}", True
    if config.ack_policy != "explicit":
        yield f"ack_policy is {config.ack_policy}; needed is explicit", True
    if config.max_deliver != -1:
        yield f"max_deliver is {config.max_deliver}: after that inputs wait for ever", True
    if config.backoff:
        yield f"backoff {config.backoff} replaces the lease", True
    if found.paused:
        yield f"it is paused for {period(found.pause_remaining / SECOND)}", True
    if config.ack_wait != round(spec.lease * SECOND):
        lease = config.ack_wait / SECOND
        yield f"ack_wait is {period(lease)}, the lease meant is {period(spec.lease)}", False


def _orphans(facts: Facts, case: Case, known: set[str]) -> Iterator[Finding]:
    for (stream, name), found in sorted(facts.consumers.items()):
        if stream == case.names.log_stream and name not in known:
            if not name.startswith(f"{case.names.flow}="):
                continue
            left = found.num_pending + found.num_ack_pending
            served = ", and workers of another graph ask for them" if found.num_waiting else ""
            node = name.removeprefix(case.names.consumer(""))
            yield Finding(
                id="consumer-orphan",
                severity="error" if left and not found.num_waiting else "warning",
                where=f"consumer {name}",
                evidence=f"the flow has no node {node}; {left} entries wait{served}",
                fix="`penguiflow topology verify module:flow` counts its inputs, `penguiflow "
                f"topology move module:flow {node} NEW` gives them to another node",
            )


def check_lease(facts: Facts, case: Case) -> Iterator[Finding]:
    """Node timeouts against `ack_wait`: the lease is renewed only while the event loop runs."""
    for _, node, name, found in _consumers(facts, case):
        lease = found.config.ack_wait / SECOND if found else case.lease
        limit = node.policy.timeout_s
        if limit is None:
            yield Finding(
                id="node-unbounded",
                severity="note",
                where=f"node {node.name}",
                evidence=f"no timeout_s: an attempt that hangs keeps its lease ({period(lease)}, "
                "renewed) and its place in the worker for ever",
                fix="NodePolicy(timeout_s=...)",
            )
        elif limit > lease:
            yield Finding(
                id="node-timeout",
                severity="warning",
                where=f"node {node.name}",
                evidence=f"timeout_s is {period(limit)}, ack_wait of {name} {period(lease)}: an "
                "attempt that blocks its event loop so long is run a second time elsewhere",
                fix=f"worker(lease={limit * 1.5:g}), a shorter timeout_s, or asyncio.to_thread",
            )


def check_window(facts: Facts, case: Case) -> Iterator[Finding]:
    """Concurrency of all workers against `max_ack_pending`."""
    for _, node, name, found in _consumers(facts, case):
        own = node.policy.concurrency or case.concurrency
        asked = own * case.workers
        limit = found.config.max_ack_pending if found else 0
        if 0 < limit < asked:
            yield Finding(
                id="ack-pending",
                severity="warning",
                where=f"consumer {name}",
                evidence=f"max_ack_pending is {limit}, but {case.workers} workers with "
                f"{own} inputs each want {asked}: some stay idle",
                fix=f"nats consumer edit {case.names.log_stream} {name} --max-pending={asked}",
            )


def horizon(node: Node) -> float:
    """Seconds from the first attempt to the end of the last one, at worst."""
    policy = node.policy
    tries = min(policy.max_retries, _RETRIES_COUNTED)
    waits = sum(backoff(policy, retry) for retry in range(1, tries + 1))
    if tries < policy.max_retries:
        waits += (policy.max_retries - tries) * backoff(policy, policy.max_retries)
    return waits + (policy.max_retries + 1) * (policy.timeout_s or 0.0)


def check_horizon(facts: Facts, case: Case) -> Iterator[Finding]:
    """Retries against the log's retention, which removes what nobody has finished as well.

    The duplicate window does not matter here: an entry's key fences it as long as it is stored.
    """
    stream = facts.streams.get(case.names.log_stream)
    if stream is None or not stream.config.max_age or case.flow is None:
        return
    age = stream.config.max_age / SECOND
    for node in case.flow.graph.nodes:
        needed = horizon(node)
        if needed > age * _SHARE:
            yield Finding(
                id="retry-horizon",
                severity="error" if needed > age else "warning",
                where=f"node {node.name}",
                evidence=f"its retries may take {period(needed)}; stream {case.names.log_stream} "
                f"removes every entry after {period(age)}, finished or not",
                fix=f"NodePolicy(max_retries=..., max_backoff=...), or `nats stream edit "
                f"{case.names.log_stream} --max-age={round(needed * 2)}s`",
            )


CHECKS = (check_consumers, check_lease, check_window, check_horizon)

__all__ = ["CHECKS", "horizon"]
