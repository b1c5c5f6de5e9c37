"""The server: its version, how safely it stores, its room, its clock, who may come in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from penguiflow_nats.doctor_findings import Case, Facts, Finding, amount, owner, period

OLDEST = (2, 12)
"""The first version with TTLs per message and atomic batches as the log uses them."""
_SMALL, _LARGE = 128 * 1024, 8 * 1024**2
_ROOM_WARNING, _ROOM_ERROR = 0.15, 0.05
_OFFSET_WARNING, _OFFSET_ERROR = 1.0, 30.0
_FULL = 0.8


def check_version(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether the server can do what is needed."""
    server = facts.server
    match = re.match(r"v?(\d+)\.(\d+)", server.version)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        yield Finding(
            id="server-version",
            severity="error",
            where="server",
            evidence=f"version {server.version or 'unknown'}; needed is {OLDEST[0]}.{OLDEST[1]}",
            fix="install nats-server 2.12 or newer",
        )
    if facts.account is None:
        on = "on, but not for this account" if server.jetstream else "off"
        yield Finding(
            id="jetstream-off",
            severity="error",
            where=f"account {facts.account_name or 'of this user'}",
            evidence=f"nobody answers $JS.API.INFO; JetStream is {on}",
            fix="jetstream { store_dir: ... } in the server's configuration, and "
            "`jetstream: enabled` or quotas in the account",
        )


def check_access(facts: Facts, case: Case) -> Iterator[Finding]:
    """Who may come in, and who may listen on the way."""
    server = facts.server
    if not server.auth_required:
        yield Finding(
            id="server-open",
            severity="warning",
            where="server",
            evidence="it lets everybody in: auth_required is false",
            fix="accounts with users: `penguiflow tenants config tenants.toml > nats.conf`",
        )
    if not server.tls and not server.loopback:
        yield Finding(
            id="server-plain",
            severity="warning",
            where="server",
            evidence="tls_required is false and the server is not on this machine",
            fix="tls { cert_file: ..., key_file: ... } in the server's configuration",
        )


def check_payload(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether messages of a usual size fit."""
    size = facts.server.max_payload
    if size < _SMALL:
        yield Finding(
            id="payload-small",
            severity="error",
            where="server",
            evidence=f"max_payload is {amount(size)}; hints and records need {amount(_SMALL)}",
            fix="max_payload: 1MB in the server's configuration",
        )
    elif size > _LARGE:
        yield Finding(
            id="payload-large",
            severity="warning",
            where="server",
            evidence=f"max_payload is {amount(size)}: such messages hold up all others",
            fix="max_payload: 1MB, and large values to the artifact store",
        )
    for name, stream in sorted(facts.streams.items()):
        limit = stream.config.max_msg_size
        if owner(name) == case.names.tenant_token and 0 < limit < size:
            yield Finding(
                id="payload-stream",
                severity="warning",
                where=f"stream {name}",
                evidence=f"max_msg_size is {amount(limit)}, the server's max_payload more: results "
                "in between are refused by the stream after they were computed",
                fix=f"nats stream edit {name} --max-msg-size=-1",
            )


def check_sync(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether a power failure loses what was acknowledged."""
    if facts.account is None:
        return
    if facts.monitor is None:
        yield Finding(
            id="sync-unknown",
            severity="note",
            where="server",
            evidence="sync_interval and disk are told by the monitoring only, which was not named",
            fix="http: 127.0.0.1:8222 in the server's configuration, and --monitor here",
        )
    elif not facts.monitor.sync_always and not _copied(facts):
        yield Finding(
            id="sync-interval",
            severity="warning",
            where="server",
            evidence=f"sync_interval is {period(facts.monitor.sync_interval)} and streams have one "
            "copy: a power failure takes acknowledged results of that time",
            fix="jetstream { sync_interval: always }, or three replicas",
        )


def _copied(facts: Facts) -> bool:
    ours = [stream for name, stream in facts.streams.items() if owner(name)]
    return bool(ours) and all(stream.config.num_replicas > 1 for stream in ours)


def check_clock(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether this machine and the server agree about the time."""
    offset = facts.clock_offset
    if offset is None or abs(offset) < _OFFSET_WARNING:
        return
    side = "ahead of" if offset > 0 else "behind"
    yield Finding(
        id="clock-offset",
        severity="error" if abs(offset) >= _OFFSET_ERROR else "warning",
        where="this machine",
        evidence=f"its clock is {period(abs(offset))} {side} the server's: deadlines and retention "
        "are off by that",
        fix="timedatectl set-ntp true, on both",
    )


def check_disk(facts: Facts, case: Case) -> Iterator[Finding]:
    """Whether the server has room."""
    seen = facts.monitor
    if seen is None:
        return
    if seen.disk_free is not None and seen.disk_total:
        share = seen.disk_free / seen.disk_total
        if share < _ROOM_WARNING:
            yield Finding(
                id="disk-low",
                severity="error" if share < _ROOM_ERROR else "warning",
                where="server",
                evidence=f"{amount(seen.disk_free)} of {amount(seen.disk_total)} are free",
                fix="free room, or move jetstream.store_dir to a larger disk",
            )
        if seen.max_storage - seen.storage > seen.disk_free:
            yield Finding(
                id="disk-promised",
                severity="warning",
                where="server",
                evidence=f"max_file_store lets streams grow by "
                f"{amount(seen.max_storage - seen.storage)}, the disk has "
                f"{amount(seen.disk_free)}: it would run full before any limit is reached",
                fix="jetstream { max_file_store: ... } below what the disk has",
            )
    used = max(seen.reserved_storage, seen.storage)
    if seen.max_storage and used >= _FULL * seen.max_storage:
        yield Finding(
            id="server-storage",
            severity="warning",
            where="server",
            evidence=f"{amount(used)} of max_file_store {amount(seen.max_storage)} are promised to "
            "streams or used; more streams are refused soon",
            fix="a larger jetstream.max_file_store, or smaller max_bytes of streams",
        )


CHECKS = (check_version, check_access, check_payload, check_sync, check_clock, check_disk)

__all__ = ["CHECKS", "OLDEST"]
