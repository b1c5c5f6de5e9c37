"""Workers and clients of a flow on NATS, embedded in any asyncio program.

No signal handlers, no global state; the caller may own the connection.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.check import check_durable
from penguiflow.durable.client import DurableClient
from penguiflow.durable.envelope import MAX_VALUE_BYTES
from penguiflow.durable.keeper import Keeper
from penguiflow.durable.sweeping import Sweeper
from penguiflow.durable.topology import Topology, flow_token
from penguiflow.durable.worker import DEFAULT_MAX_DELIVERIES, DurableWorker
from penguiflow.events import log_event
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.state.protocols import SupportsSweep, SupportsTraceEnds
from penguiflow.telemetry.instrument import Instrument
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.imported import check_tenant
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.provisioning import Provision, Provisioner
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage
from penguiflow_nats.subjects import Names
from penguiflow_nats.topology_plan import wanted_for

Server = str | Sequence[str] | ConnectionSettings | Connection
"""Where the server is: addresses, settings, or a connection that the caller owns, which may be
one of a tenant's account over imports (`imported`)."""


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Connection]:
    """The connection; closed at the end unless the caller owns it."""
    if isinstance(server, Connection):
        yield server
        return
    if isinstance(server, ConnectionSettings):
        settings = server
    else:
        addresses = (server,) if isinstance(server, str) else tuple(server)
        settings = ConnectionSettings(servers=addresses)
    connection = await Connection.open(settings)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def worker(
    flow: PenguiFlow,
    server: Server = "nats://127.0.0.1:4222",
    *,
    tenant: str = "default",
    nodes: Sequence[str] | None = None,
    registry: ModelRegistry | None = None,
    concurrency: int = 64,
    lease: float = 15.0,
    max_deliveries: int = DEFAULT_MAX_DELIVERIES,
    max_value_bytes: int = MAX_VALUE_BYTES,
    drain: float = 30.0,
    retention: float | None = 900.0,
    storage: Storage | None = None,
    provision: Provision = "apply",
    on_gone: Callable[[str, str], None] | None = None,
    telemetry: Instrument | None = None,
    sweep: float | None = 300.0,
) -> AsyncIterator[DurableWorker]:
    """Host all or some nodes of a flow here, until the block ends; then drain.

    Args:
        flow: The flow, as it is.
        server: Where the server is.
        tenant: Whose messages to work on.
        nodes: Names of the nodes to host; all by default.
        registry: The models of nodes that validate.
        concurrency: Inputs in work at once per node.
        lease: Seconds after which the inputs of a dead worker go to another one.
        max_deliveries: Deliveries without an end after which an input is buried.
        max_value_bytes: Bytes that one value may have; a result beyond fails its node.
        drain: Seconds to finish what is in hand at the end.
        retention: Seconds for which a trace that is over stays in the log; None is for ever.
        storage: How much the streams hold and how safely; without it those that exist stay so.
        provision: "apply" makes streams and consumers, "verify" raises instead, "off" does neither.
        on_gone: Called with (node, reason) when somebody deleted a consumer of this flow.
        telemetry: Observes what is done here; by default what the flow was given.
        sweep: Seconds between two sweeps of the flow's state store; None never sweeps it here.

    Raises:
        FlowNotDurable: a node uses something that cannot be spread over workers.
        TopologyDrift, TopologyMissing: streams or consumers are not as needed (see `provision`).
        NatsError: the server cannot be reached or refuses.
    """
    async with connected(server) as connection:
        log = await _provisioned(
            flow, connection, tenant, provision, storage, lease, nodes, concurrency
        )
        letters = NatsDeadLetters(log)
        hosted = DurableWorker(
            flow, log, letters, nodes=nodes, registry=registry, concurrency=concurrency,
            lease=lease, max_deliveries=max_deliveries, max_value_bytes=max_value_bytes,
            on_gone=on_gone, telemetry=telemetry,
        )  # fmt: skip
        tidiers = _tidiers(log, letters, flow.state_store, retention, sweep)
        async with _kept(hosted, tidiers, drain):
            yield hosted


def _tidiers(
    log: JetStreamLog,
    letters: NatsDeadLetters,
    store: object,
    retention: float | None,
    sweep: float | None,
) -> list[Keeper | Sweeper]:
    """What tidies the log and the state store beside the worker."""
    tidiers: list[Keeper | Sweeper] = []
    if retention is not None:
        ends = store if isinstance(store, SupportsTraceEnds) else None
        keeper = Keeper(log, clock=SYSTEM_CLOCK, retention=retention, ends=ends, letters=letters)
        tidiers.append(keeper)
    if sweep is not None and isinstance(store, SupportsSweep):
        tidiers.append(Sweeper(store, clock=SYSTEM_CLOCK, interval=sweep))
    return tidiers


async def _provisioned(  # noqa: PLR0917 - as the worker was told
    flow: PenguiFlow,
    connection: Connection,
    tenant: str,
    how: Provision,
    storage: Storage | None,
    lease: float,
    nodes: Sequence[str] | None,
    concurrency: int,
) -> JetStreamLog:
    """The log, after all that the worker needs was seen to at once."""
    check_tenant(connection, tenant)
    check_durable(flow.graph)
    names = Names(tenant, flow_token(flow.graph, flow.name, flow.version))
    topology = Topology(flow.graph, lease=lease)
    wanted = wanted_for(names, topology, storage=storage, nodes=nodes, concurrency=concurrency)
    known = tuple(topology.tokens.values())
    plan = await Provisioner(JetStream(connection), names, wanted, known=known).provision(how)
    for orphan in plan.stranded:
        failure = {"consumer": orphan.consumer, "node_name": orphan.node, "waiting": orphan.waiting}
        log_event(logging.WARNING, "stranded_at_removed_node", failure)
    # Whatever changes from now on is somebody else's doing, and is not to be put right in silence.
    log = await JetStreamLog.open(
        connection, tenant=tenant, flow=names.flow, storage=storage, provision="off"
    )
    log.creates_bucket = how == "apply"
    return log


@asynccontextmanager
async def _kept(
    hosted: DurableWorker, tidiers: Sequence[Keeper | Sweeper], drain: float
) -> AsyncIterator[None]:
    """Work, and tidy up, until the block ends."""
    try:
        await hosted.start()
        for each in tidiers:
            each.start()
        yield
    finally:
        for each in tidiers:
            await each.stop()
        await hosted.stop(drain=drain)


@asynccontextmanager
async def client(
    flow: PenguiFlow,
    server: Server = "nats://127.0.0.1:4222",
    *,
    tenant: str = "default",
    registry: ModelRegistry | None = None,
    storage: Storage | None = None,
    provision: Provision = "apply",
    max_value_bytes: int = MAX_VALUE_BYTES,
    patience: float = 30.0,
    telemetry: Instrument | None = None,
) -> AsyncIterator[DurableClient]:
    """A client of the flow's workers: submits, fetches, streams, cancels.

    `telemetry` observes that; by default what the flow was given. `storage` and `provision` are
    those of `worker`; a client needs the streams of log and chunks. `max_value_bytes` bounds what
    is submitted; a full log is waited for up to `patience` seconds.

    Raises:
        FlowNotDurable: the flow cannot be spread over workers.
        TopologyDrift, TopologyMissing: the streams are not as needed (see `provision`).
        NatsError: the server cannot be reached or refuses.
    """
    async with connected(server) as connection:
        name = flow_token(flow.graph, flow.name, flow.version)
        log = await JetStreamLog.open(
            connection, tenant=tenant, flow=name, storage=storage, provision=provision
        )
        async with DurableClient(
            flow,
            log,
            registry=registry,
            max_value_bytes=max_value_bytes,
            patience=patience,
            telemetry=telemetry or flow.telemetry,
        ) as opened:
            yield opened
