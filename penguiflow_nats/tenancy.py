"""Tenants of a server: the short list that an operator writes, checked. Pure.

Every text ends up in the server's configuration, so each is matched as a whole and none can hold
a quote, a brace or a line break.
"""

from __future__ import annotations

import re
import tomllib
from typing import NoReturn

import msgspec

from penguiflow.durable.tokens import token
from penguiflow.durable.topology import MOST_TIMERS
from penguiflow_nats.call_subjects import is_agent_name

LEAST_ACK_PENDING = MOST_TIMERS
"""What a consumer of a flow asks for at most; with less the server refuses to create it."""
_FACTORS = {"": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_ROUTE = re.compile(r"[A-Za-z0-9.-]{1,253}:\d{1,5}")
_SIZE = re.compile(r"(\d{1,6})\s*(KB|MB|GB|TB)?")
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+,=~ -]{1,200}")
_SECOND = re.compile(r"always|\d{1,5}(ms|s|m)")
_NKEY = re.compile(r"U[A-Z2-7]{55}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class BadTenants(ValueError):
    """The list of tenants asks for something that cannot be. The text says where and what."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the list; a misspelt key is an error, not a default."""


class Tls(_Table, frozen=True):
    """Paths on the server's machine."""

    cert_file: str
    key_file: str
    ca_file: str = ""
    verify: bool = False
    """Whether clients need a certificate too; needs `ca_file`."""


class Cluster(_Table, frozen=True):
    """The servers that form one cluster; they know each other by the certificates of `tls`."""

    routes: list[str]
    """Host and port of each server, for the others; all of them on every one."""
    name: str = "penguiflow"
    listen: str = "0.0.0.0:6222"


class ServerSpec(_Table, frozen=True):
    """The server, or one of a cluster."""

    name: str = "penguiflow"
    listen: str = "0.0.0.0:4222"
    monitor: str = ""
    """Where monitoring listens, as `127.0.0.1:8222`; it is not authenticated. Empty is nowhere."""
    store_dir: str = "/var/lib/penguiflow/jetstream"
    sync_interval: str = "always"
    """`always`, or a time such as `2m` in which a power failure takes what was acknowledged."""
    max_payload: str = "1MB"
    disk: str = "20GB"
    memory: str = "256MB"
    secrets_file: str = ""
    """A file of lines `NAME=password` beside the configuration, from which the server reads the
    passwords at each reload. Empty: from its environment, and only at its start."""
    tls: Tls | None = None
    cluster: Cluster | None = None


class UserSpec(_Table, frozen=True):
    """How a user shows who it is: by the password in a variable, or by an nkey."""

    password: str = ""
    """Name of the variable of the server's environment; by default made of tenant and role."""
    nkey: str = ""
    """Public key of the user; then there is no password."""


class TenantSpec(_Table, frozen=True):
    """One tenant: its quotas, its users, and the shared agents that it may call."""

    name: str
    disk: str = "4GB"
    """For all copies: with three replicas a stream of 1 GB takes 3 GB of it."""
    memory: str = "32MB"
    streams: int = 32
    consumers: int = 1000
    ack_pending: int = LEAST_ACK_PENDING
    connections: int = 100
    subscriptions: int = 10000
    max_payload: str = "1MB"
    agents: list[str] = []
    shared_workers: bool = False
    """Whether the workers of many tenants serve it over their one connection."""
    worker: UserSpec = UserSpec()
    app: UserSpec = UserSpec()

    @property
    def token(self) -> str:
        """The tenant in subjects."""
        return token(self.name)

    @property
    def account(self) -> str:
        """Its account."""
        return f"T_{self.token}"

    def user(self, role: str) -> str:
        """The name of one of its users."""
        return f"{self.token}-{role}"

    def variable(self, role: str) -> str:
        """The variable with a user's password."""
        spec = self.worker if role == "worker" else self.app
        # Hex for what a variable cannot hold, so that "a-b" and "a_b" do not share a password.
        plain = "".join(c if c.isalnum() else f"_{ord(c):X}_" for c in self.token)
        return spec.password or f"PENGUIFLOW_{plain}_{role}".upper()

    @property
    def inbox(self) -> str:
        """Inbox prefix of its app user."""
        return f"_INBOX_{self.token}"


class Tenants(_Table, frozen=True):
    """The whole list."""

    tenant: list[TenantSpec]
    server: ServerSpec = ServerSpec()
    agents: UserSpec = UserSpec()
    """The user of shared agents."""
    workers: UserSpec = UserSpec()
    """The user of shared workers; it may do in each of their tenants what its worker may."""
    system: UserSpec = UserSpec()
    """The user of the system account, for monitoring."""

    @property
    def shares_agents(self) -> bool:
        """Whether any tenant calls shared agents."""
        return any(each.agents for each in self.tenant)

    @property
    def shares_workers(self) -> bool:
        """Whether any tenant is served over imports."""
        return any(each.shared_workers for each in self.tenant)

    def variables(self) -> list[str]:
        """The variables that the configuration refers to."""
        found = [self.system.password or "PENGUIFLOW_SYSTEM"] * (not self.system.nkey)
        if self.shares_agents and not self.agents.nkey:
            found.append(self.agents.password or "PENGUIFLOW_AGENTS")
        if self.shares_workers and not self.workers.nkey:
            found.append(self.workers.password or "PENGUIFLOW_WORKERS")
        for tenant in self.tenant:
            found += [tenant.variable("worker")] * (not tenant.worker.nkey)
            found += [tenant.variable("app")] * (not tenant.app.nkey)
        return found


def read_tenants(text: str, *, node: str | None = None) -> Tenants:
    """The list from TOML; `node` is the name of the server that it is for, if not `server.name`.

    Raises:
        BadTenants: it cannot be read, or asks for something that cannot be.
    """
    try:
        tenants = msgspec.convert(tomllib.loads(text), Tenants)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadTenants(str(error)) from error
    if node is not None:
        server = msgspec.structs.replace(tenants.server, name=node)
        tenants = msgspec.structs.replace(tenants, server=server)
    _check_server(tenants.server)
    _check_user("system", tenants.system)
    _check_user("agents", tenants.agents)
    _check_user("workers", tenants.workers)
    if not tenants.tenant:
        _refuse("tenant", "there is none; add a [[tenant]] with a name")
    for tenant in tenants.tenant:
        _check_tenant(tenant, tenants.server)
    _check_distinct("tenant", [each.name for each in tenants.tenant])
    # The server folds no case, but operators and their shells do.
    _check_distinct("account", [each.account.lower() for each in tenants.tenant])
    _check_distinct("password variable", tenants.variables())
    _check_sum(tenants)
    return tenants


def size(text: str) -> int:
    """Bytes of a text such as `512MB`.

    Raises:
        ValueError: it is none.
    """
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        msg = f"{text!r} is no size; write it as 512MB or 20GB"
        raise ValueError(msg)
    return int(match[1]) * _FACTORS[match[2] or ""]


def _check_server(server: ServerSpec) -> None:
    needed = {name: getattr(server, name) for name in ("name", "listen", "store_dir")}
    chosen = {name: getattr(server, name) for name in ("monitor", "secrets_file")}
    if server.tls is not None:
        needed |= {"tls.cert_file": server.tls.cert_file, "tls.key_file": server.tls.key_file}
        chosen["tls.ca_file"] = server.tls.ca_file
        if server.tls.verify and not server.tls.ca_file:
            _refuse("server.tls.verify", "needs ca_file")
    if server.cluster is not None:
        _check_cluster(server.cluster, server.tls)
        needed |= {"cluster.name": server.cluster.name, "cluster.listen": server.cluster.listen}
    for name, text in (needed | {name: text for name, text in chosen.items() if text}).items():
        if _PLAIN.fullmatch(text) is None:
            _refuse(f"server.{name}", f"{text!r} holds a character that is not allowed")
    if server.secrets_file.startswith("/"):  # the server would look below its own folder
        _refuse("server.secrets_file", "must be relative to the configuration")
    if _SECOND.fullmatch(server.sync_interval) is None:
        _refuse("server.sync_interval", f"{server.sync_interval!r}: write always, 10s or 2m")
    for name in ("max_payload", "disk", "memory"):
        _check_size(f"server.{name}", getattr(server, name))


def _check_cluster(cluster: Cluster, tls: Tls | None) -> None:
    if len(cluster.routes) < 3:
        _refuse("server.cluster.routes", "a cluster that survives the loss of a server has three")
    _check_distinct("route of server.cluster", cluster.routes)
    for route in cluster.routes:
        if _ROUTE.fullmatch(route) is None:
            _refuse("server.cluster.routes", f"{route!r}: write host and port as nats-1:6222")
    local = all(route.startswith(("127.0.0.1:", "localhost:")) for route in cluster.routes)
    if not local and (tls is None or not tls.ca_file):
        text = "needs server.tls with ca_file: servers know each other by their certificates"
        _refuse("server.cluster", text)


def _check_tenant(tenant: TenantSpec, server: ServerSpec) -> None:
    where = f"tenant {tenant.name!r}"
    if _NAME.fullmatch(tenant.name) is None:
        _refuse(where, "a name has letters, digits and '_.@-', at most 64, and starts plainly")
    for name in ("disk", "memory", "max_payload"):
        _check_size(f"{where}: {name}", getattr(tenant, name))
    if size(tenant.max_payload) > size(server.max_payload):
        _refuse(where, "max_payload is larger than the server's")
    for name in ("streams", "consumers", "connections", "subscriptions"):
        if not 0 < getattr(tenant, name) <= 1_000_000:
            _refuse(f"{where}: {name}", "must be between 1 and 1,000,000")
    if tenant.ack_pending < LEAST_ACK_PENDING:
        _refuse(f"{where}: ack_pending", f"flows need at least {LEAST_ACK_PENDING}")
    for agent in tenant.agents:
        if not is_agent_name(agent):
            _refuse(f"{where}: agents", f"{agent!r} is no name of an agent")
    _check_distinct(f"agent of {where}", tenant.agents)
    _check_user(f"{where}: worker", tenant.worker)
    _check_user(f"{where}: app", tenant.app)


def _check_user(where: str, user: UserSpec) -> None:
    if user.nkey and _NKEY.fullmatch(user.nkey) is None:
        _refuse(f"{where}.nkey", "must be a user's public key: U and 55 more characters")
    if user.password and _VARIABLE.fullmatch(user.password) is None:
        text = "names a variable of the environment, as ACME_WORKER; it is not the password itself"
        _refuse(f"{where}.password", text)
    if user.password and user.nkey:
        _refuse(where, "has a password and an nkey; choose one")


def _check_size(where: str, text: str) -> None:
    try:
        size(text)
    except ValueError as error:
        _refuse(where, str(error))


def _check_distinct(what: str, values: list[str]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        _refuse(what, f"given twice: {', '.join(twice)}")


def _check_sum(tenants: Tenants) -> None:
    """The server sets a quota aside: one that does not fit leaves its tenant without JetStream."""
    for name in ("disk", "memory"):
        asked = sum(size(getattr(each, name)) for each in tenants.tenant)
        has = size(getattr(tenants.server, name))
        if asked > has:
            text = (
                f"the tenants' quotas add up to {asked} of {has} bytes; give it more, or them less"
            )
            _refuse(f"server.{name}", text)


def _refuse(where: str, text: str) -> NoReturn:
    msg = f"{where}: {text}"
    raise BadTenants(msg)


__all__ = [
    "LEAST_ACK_PENDING",
    "BadTenants",
    "Cluster",
    "ServerSpec",
    "TenantSpec",
    "Tenants",
    "Tls",
    "UserSpec",
    "read_tenants",
    "size",
]
