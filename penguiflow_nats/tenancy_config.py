"""The configuration of a server for its tenants: an account each, and what its users may do. Pure.

Between accounts nothing is visible but what is exported and imported here. Inside an account the
worker user may do everything; the app user may submit, fetch, stream and cancel.
"""

from __future__ import annotations

from collections.abc import Iterable

from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.subjects import Names
from penguiflow_nats.tenancy import Cluster, ServerSpec, Tenants, TenantSpec, Tls, UserSpec, size
from penguiflow_nats.tenancy_workers import exports_to_workers, workers_account

AGENTS = "AGENTS"
"""The account of shared agents."""


_API = "$JS.API"


def app_publishes(tenant: TenantSpec) -> list[str]:
    """What a tenant's app may publish, request and ask of JetStream."""
    names = Names(tenant.name, "flow")
    log = f"{names.root}.{names.part}.*"
    api = _API
    return [
        f"{log}.in.*._.*",  # submit
        f"{log}.timer.*._.*",  # the same for later
        f"{log}.cancel.*",  # cancel: the marker, the broadcast, how it ended
        f"{log}.end.*",
        f"{names.root}.ctl.*.cancel",
        f"{api}.STREAM.PURGE.{names.log_stream}",  # cancel removes what is left of the trace
        f"{api}.STREAM.INFO.{names.log_stream}",
        f"{api}.STREAM.INFO.{names.chunk_stream}",
        f"{api}.STREAM.CREATE.{names.log_stream}",  # a client makes sure that they are there
        f"{api}.STREAM.CREATE.{names.chunk_stream}",
        f"{api}.STREAM.MSG.GET.{names.log_stream}",  # fetch
        f"{api}.DIRECT.GET.{names.log_stream}",
        f"{api}.DIRECT.GET.{names.chunk_stream}",  # stream
        *_objects(names.objects_bucket),  # values that are too large for an entry
        *_calls(CallNames(tenant.name)),
    ]


def _calls(names: CallNames) -> list[str]:
    """To call agents of its own tenant, and the shared ones that the tenant imports."""
    calls, replies = names.calls_stream, names.replies_stream
    return [
        names.ask("*"),
        names.request("*", "*"),
        names.cancel("*"),
        names.state("*"),  # a cancel is the end of a task, whoever is at work
        *(f"{_API}.STREAM.{verb}.{name}" for name in (calls, replies) for verb in _STREAM),
        *(f"{_API}.DIRECT.GET.{name}" for name in (calls, replies)),
        f"{_API}.CONSUMER.INFO.{calls}.*",  # whether an agent is there
        f"{_API}.STREAM.PURGE.{calls}",  # a request that is cancelled before it is taken
        *_objects(names.calls_bucket),
    ]


def _objects(bucket: str) -> list[str]:
    """To put values into an object bucket and take them out."""
    stream = f"OBJ_{bucket}"
    return [
        f"$O.{bucket}.>",
        *(f"{_API}.STREAM.{verb}.{stream}" for verb in (*_STREAM, "PURGE")),
        f"{_API}.DIRECT.GET.{stream}",
        f"{_API}.DIRECT.GET.{stream}.>",
    ]


_STREAM = ("CREATE", "INFO", "MSG.GET")
"""What a client asks of a stream: to be there, and for one message."""


def app_subscribes(tenant: TenantSpec) -> list[str]:
    """What a tenant's app may hear."""
    root = Names(tenant.name, "flow").root
    news = CallNames(tenant.name).news
    return [f"{tenant.inbox}.>", f"{root}.ctl.*.hint.>", f"{root}.chunk.*.*", news]


def server_config(tenants: Tenants) -> str:
    """The whole configuration, for `nats-server -c`."""
    blocks = [_header(tenants), _server(tenants.server), "accounts {"]
    blocks += [_tenant(each) for each in tenants.tenant]
    if tenants.shares_agents:
        blocks.append(_agents(tenants))
    if tenants.shares_workers:
        password = tenants.workers.password or "PENGUIFLOW_WORKERS"
        blocks.append(workers_account(tenants, _identity(tenants.workers, "workers", password)))
    blocks.append(_system(tenants.system))
    return "\n".join([*blocks, "}", 'system_account: "$SYS"', ""])


def _header(tenants: Tenants) -> str:
    lines = ["# Made by `penguiflow tenants config`. Change the list of tenants, not this file."]
    file = tenants.server.secrets_file
    if variables := tenants.variables():
        source = file or "its environment"
        lines.append(f"# The server reads passwords from {source}:")
        lines += [f"#   {name}" for name in variables]
    if file:
        lines.append(f'include "{file}"')
    return "\n".join(lines)


def _server(server: ServerSpec) -> str:
    lines = [
        f'server_name: "{server.name}"',
        f'listen: "{server.listen}"',
        *([f'http: "{server.monitor}"'] if server.monitor else []),
        f"max_payload: {size(server.max_payload)}",
        "# A client that is gone is noticed, and one that does not read is cut off.",
        'ping_interval: "10s"',
        "ping_max: 2",
        'write_deadline: "10s"',
        "jetstream {",
        f'  store_dir: "{server.store_dir}"',
        f'  sync_interval: "{server.sync_interval}"',
        "  strict: true",
        f"  max_file_store: {size(server.disk)}",
        f"  max_memory_store: {size(server.memory)}",
        "}",
    ]
    if server.tls is not None:
        lines += _tls(server.tls, verify=server.tls.verify)
    if server.cluster is not None:
        lines += _cluster(server.cluster, server.tls)
    return "\n".join(lines)


def _tls(tls: Tls, *, verify: bool) -> list[str]:
    return [
        "tls {",
        f'  cert_file: "{tls.cert_file}"',
        f'  key_file: "{tls.key_file}"',
        *([f'  ca_file: "{tls.ca_file}"'] if tls.ca_file else []),
        f"  verify: {_flag(verify)}",
        "}",
    ]


def _cluster(cluster: Cluster, tls: Tls | None) -> list[str]:
    return [
        "cluster {",
        f'  name: "{cluster.name}"',
        f'  listen: "{cluster.listen}"',
        "  routes: [",
        *(f'    "nats://{route}"' for route in cluster.routes),
        "  ]",
        *([] if tls is None else [f"  {line}" for line in _tls(tls, verify=True)]),
        "}",
    ]


def _tenant(tenant: TenantSpec) -> str:
    quotas = (
        f"max_file: {size(tenant.disk)}, max_mem: {size(tenant.memory)}, "
        f"max_streams: {tenant.streams}, max_consumers: {tenant.consumers}, "
        f"max_ack_pending: {tenant.ack_pending}"
    )
    limits = (
        f"max_connections: {tenant.connections}, max_subscriptions: {tenant.subscriptions}, "
        f"max_payload: {size(tenant.max_payload)}"
    )
    lines = [
        f"  {tenant.account} {{  # {tenant.name}",
        f"    jetstream: {{ {quotas} }}",
        f"    limits: {{ {limits} }}",
        "    users: [",
        f"      {{ {_who(tenant, 'worker')} }}",
        f"      {{ {_who(tenant, 'app')}, permissions: {{",
        f"          publish: {{ allow: [{_list(app_publishes(tenant))}] }}",
        f"          subscribe: {{ allow: [{_list(app_subscribes(tenant))}] }} }} }}",
        "    ]",
    ]
    if tenant.agents:
        lines.append("    imports: [")
        lines += [
            f'      {{ service: {{ account: {AGENTS}, subject: "{subject}" }} }}'
            for subject in _asked(tenant)
        ]
        lines.append("    ]")
    if tenant.shared_workers:
        lines += exports_to_workers(tenant)
    return "\n".join([*lines, "  }"])


def _agents(tenants: Tenants) -> str:
    """Shared agents. The subject tells whose call it is, and only that tenant can send on it."""
    who = _identity(tenants.agents, "agents", tenants.agents.password or "PENGUIFLOW_AGENTS")
    lines = [f"  {AGENTS} {{", f"    users: [ {{ {who} }} ]", "    exports: ["]
    for tenant in tenants.tenant:
        lines += [
            f'      {{ service: "{subject}", response_type: stream, accounts: [{tenant.account}] }}'
            for subject in _asked(tenant)
        ]
    return "\n".join([*lines, "    ]", "  }"])


def _asked(tenant: TenantSpec) -> list[str]:
    return [CallNames(tenant.name).ask(agent) for agent in tenant.agents]


def _system(user: UserSpec) -> str:
    who = _identity(user, "system", user.password or "PENGUIFLOW_SYSTEM")
    return f'  "$SYS" {{ users: [ {{ {who} }} ] }}'


def _who(tenant: TenantSpec, role: str) -> str:
    spec = tenant.worker if role == "worker" else tenant.app
    return _identity(spec, tenant.user(role), tenant.variable(role))


def _identity(spec: UserSpec, user: str, variable: str) -> str:
    return f'nkey: "{spec.nkey}"' if spec.nkey else f'user: "{user}", password: ${variable}'


def _list(texts: Iterable[str]) -> str:
    # One a line: a permission that was added shows in a diff.
    return "".join(f'\n            "{text}"' for text in texts)


def _flag(value: bool) -> str:
    return "true" if value else "false"


__all__ = ["AGENTS", "app_publishes", "app_subscribes", "server_config"]
