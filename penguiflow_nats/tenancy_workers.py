"""The configuration of workers that serve many tenants over one connection. Pure.

Each tenant exports to the account of the workers alone, and that account imports under names in
which the tenant stands, so no two of them meet there.
"""

from __future__ import annotations

from typing import Final

from penguiflow_nats.imports import WORKERS, Import
from penguiflow_nats.tenancy import Tenants, TenantSpec

_THRESHOLD: Final = "60s"
"""How long the server keeps the way back of a request with many answers; a pull lives 30 s."""


def exports_to_workers(tenant: TenantSpec) -> list[str]:
    """Lines of the tenant's account."""
    lines = ["    exports: ["]
    for each in Import(tenant.name).asked:
        # The way back of a request with one answer goes with the answer. With `stream` for all, the
        # server would keep the way back of every write until it is too old.
        many = f", response_type: stream, response_threshold: {_THRESHOLD}"
        how = many if each.has_many_answers else ""
        lines.append(f'      {{ service: "{each.theirs}", accounts: [{WORKERS}]{how} }}')
    heard = Import(tenant.name).heard
    lines += [f'      {{ stream: "{subject}", accounts: [{WORKERS}] }}' for subject in heard]
    return [*lines, "    ]"]


def workers_account(tenants: Tenants, who: str) -> str:
    """The account of the workers; `who` is how its user is known."""
    lines = [f"  {WORKERS} {{", f"    users: [ {{ {who} }} ]", "    imports: ["]
    for tenant in tenants.tenant:
        if tenant.shared_workers:
            lines += _imports(tenant)
    return "\n".join([*lines, "    ]", "  }"])


def _imports(tenant: TenantSpec) -> list[str]:
    names = Import(tenant.name)
    lines = []
    for each in names.asked:
        service = f'service: {{ account: {tenant.account}, subject: "{each.theirs}" }}'
        renamed = "" if each.ours == each.theirs else f', to: "{each.ours}"'
        lines.append(f"      {{ {service}{renamed} }}")
    for subject in names.heard:
        stream = f'stream: {{ account: {tenant.account}, subject: "{subject}" }}'
        lines.append(f'      {{ {stream}, prefix: "{names.hear_prefix}" }}')
    return lines


__all__ = ["exports_to_workers", "workers_account"]
