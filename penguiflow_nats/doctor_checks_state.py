"""The buckets of a tenant, for state and large values, and the consumers of its agents. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from penguiflow_nats import state_keys as keys
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.doctor_checks_streams import filling
from penguiflow_nats.doctor_findings import Case, Facts, Finding, period
from penguiflow_nats.kv_bucket import BucketLimits, bucket_config
from penguiflow_nats.object_info import object_config
from penguiflow_nats.stream_types import SECOND, StreamConfig

_SETTINGS = (
    "subjects",
    "retention",
    "discard",
    "max_msgs_per_subject",
    "allow_rollup_hdrs",
    "allow_direct",
    "allow_msg_ttl",
)
"""What the buckets' promises stand on."""
_FLAGS = {
    "discard": "--discard=new",
    "allow_direct": "--allow-direct",
    "allow_msg_ttl": "--allow-msg-ttl",
}
_AGENT = "agent_"


def wanted_buckets(case: Case) -> list[StreamConfig]:
    """The buckets that a tenant may have; each is made when it is first needed."""
    limits, tenant = BucketLimits(), case.tenant
    objects = (
        keys.object_bucket_name(tenant),
        keys.artifact_bucket_name(tenant),
        case.names.objects_bucket,
        CallNames(tenant).calls_bucket,
    )
    return [
        bucket_config(keys.bucket_name(tenant), limits),
        *(object_config(bucket, limits) for bucket in objects),
    ]


def check_buckets(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether somebody changed a bucket."""
    for wanted in wanted_buckets(case):
        stream = facts.streams.get(wanted.name)
        if stream is None:
            continue
        for name in _SETTINGS:
            found, needed = getattr(stream.config, name), getattr(wanted, name)
            if found != needed:
                edit = f"nats stream edit {wanted.name}"
                yield Finding(
                    id="bucket-drift",
                    severity="error",
                    where=f"stream {wanted.name}",
                    evidence=f"{name} is {found}, needed is {needed}; the store refuses "
                    "to open, or what it keeps may be pushed out",
                    fix=f"{edit} {_FLAGS[name]}" if name in _FLAGS else f"{edit} (setting {name})",
                )


def check_bucket_room(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether a bucket is about to refuse writes, which makes its workers wait."""
    for wanted in wanted_buckets(case):
        yield from filling(
            facts,
            wanted.name,
            id="bucket-filling",
            consequence="a full one refuses writes, and whoever writes waits",
            remedy="a shorter retention (StateRetention)",
        )


def check_agents(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether calls wait for agents that nobody runs, or that somebody changed."""
    calls = CallNames(case.tenant).calls_stream
    for (stream, name), found in sorted(facts.consumers.items()):
        if stream != calls or not name.startswith(_AGENT):
            continue
        agent, where = name.removeprefix(_AGENT), f"consumer {name}"
        if found.num_pending and not found.num_waiting and not found.num_ack_pending:
            yield Finding(
                id="agent-unserved",
                severity="error",
                where=where,
                evidence=f"{found.num_pending} calls wait, and no replica of {agent} asks for them",
                fix=f"start a replica: `penguiflow agent module:agent` for {agent}",
            )
        config = found.config
        problems = []
        if found.paused:
            problems.append(f"it is paused for {period(found.pause_remaining / SECOND)}")
        if config.ack_policy != "explicit":
            problems.append(f"ack_policy is {config.ack_policy}; needed is explicit")
        if config.max_deliver != -1:
            problems.append(f"max_deliver is {config.max_deliver}: after that calls wait for ever")
        for problem in problems:
            yield Finding(
                id="agent-drift",
                severity="error",
                where=where,
                evidence=problem,
                fix=f"`nats consumer resume {calls} {name}`"
                if found.paused
                else f"`nats consumer edit {calls} {name}`, or restart a replica of {agent}",
            )


CHECKS = (check_buckets, check_bucket_room, check_agents)

__all__ = ["CHECKS", "wanted_buckets"]
