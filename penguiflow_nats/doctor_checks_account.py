"""The account: whether its tenant is alone in it, its quotas, and where the copies are. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from penguiflow_nats.doctor_findings import Case, Facts, Finding, amount, owner

_FULL = 0.8
_PRODUCTION = 3


def tenants_in(facts: Facts) -> list[str]:
    """The tenants whose streams are in the account."""
    return sorted({tenant for name in facts.streams if (tenant := owner(name))})


def check_isolation(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether another tenant could reach this one."""
    tenants = tenants_in(facts)
    if len(tenants) < 2:
        return
    others = [each for each in tenants if each != case.names.tenant_token]
    yield Finding(
        id="not-isolated",
        severity="error",
        where=f"account {facts.account_name or 'of this user'}",
        evidence=f"not isolated: it holds streams of {len(tenants)} tenants "
        f"({', '.join(tenants[:5])}{', ...' if len(tenants) > 5 else ''}); permissions inside an "
        f"account do not keep {others[0]} out (docs/isolation.md)",
        fix="an account each: `penguiflow tenants config tenants.toml > nats.conf`",
    )


def check_quotas(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether the account may still grow."""
    if facts.account is None:
        return
    account, limits = facts.account, facts.account.limits
    reserved = sum(
        stream.config.max_bytes * stream.config.num_replicas
        for stream in facts.streams.values()
        if stream.config.max_bytes > 0 and stream.config.storage == "file"
    )
    used = (
        ("storage", max(reserved, account.storage), limits.max_storage, amount),
        ("streams", account.streams, limits.max_streams, str),
        ("consumers", account.consumers, limits.max_consumers, str),
    )
    for what, value, limit, shown in used:
        if limit > 0 and value >= _FULL * limit:
            yield Finding(
                id=f"quota-{what}",
                severity="error" if value >= limit else "warning",
                where=f"account {facts.account_name or 'of this user'}",
                evidence=f"{shown(value)} of {shown(limit)} {what} are used or promised",
                fix=f"more {what} for the tenant in tenants.toml, or remove what is not needed",
            )


def cluster_size(facts: Facts) -> int:
    """How many servers there are, as far as it can be seen."""
    told = facts.monitor.cluster_size if facts.monitor else 0
    return max(1, told, facts.server.addresses if facts.server.cluster else 0)


def check_replicas(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether a lost server is survived."""
    yield from _without_leader(facts, case)
    servers = cluster_size(facts)
    for name, stream in sorted(facts.streams.items()):
        if owner(name) != case.names.tenant_token:
            continue
        copies = stream.config.num_replicas
        wanted = min(servers, _PRODUCTION)
        if copies < wanted:
            yield Finding(
                id="replicas",
                severity="warning",
                where=f"stream {name}",
                evidence=f"{copies} of {servers} servers hold it: it is gone with that server",
                fix=f"nats stream edit {name} --replicas={wanted}, and Storage(replicas={wanted})",
            )
        elif copies % 2 == 0:
            yield Finding(
                id="replicas-even",
                severity="warning",
                where=f"stream {name}",
                evidence=f"{copies} copies survive no more losses than {copies - 1}",
                fix=f"nats stream edit {name} --replicas={copies - 1}",
            )
        behind = [
            peer.name
            for peer in (stream.cluster.replicas if stream.cluster else ())
            if peer.offline or not peer.current
        ]
        if behind:
            yield Finding(
                id="replica-behind",
                severity="error",
                where=f"stream {name}",
                evidence=f"offline or behind: {', '.join(behind)}",
                fix=f"start those servers; `nats stream info {name}` shows when they caught up",
            )


def _without_leader(facts: Facts, case: Case) -> Iterator[Finding]:
    for name in facts.missing:
        if owner(name) == case.names.tenant_token:
            yield Finding(
                id="stream-offline",
                severity="error",
                where=f"stream {name}",
                evidence="nobody answers for it: too few of its servers are there",
                fix="start the servers that hold it; then `nats stream report`",
            )


CHECKS = (check_isolation, check_quotas, check_replicas)

__all__ = ["CHECKS", "cluster_size", "tenants_in"]
