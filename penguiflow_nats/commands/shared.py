"""What the commands of this package have in common: where the server is, and whose flow it is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.loading import load_flow
from penguiflow.durable.log import LogError
from penguiflow.durable.topology import FlowNotDurable, flow_token
from penguiflow.flow import PenguiFlow
from penguiflow_nats import error_codes
from penguiflow_nats.commands.server import DEFAULT_URL, add_server, server_of
from penguiflow_nats.errors import ApiError, ConnectFailed, NatsError
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.provisioning import PROVISIONS, Provision
from penguiflow_nats.runtime import connected
from penguiflow_nats.topology_diff import TopologyDrift


def add_flow(parser: ArgumentParser) -> None:
    """The flow, as an argument, and its tenant and server, as options."""
    parser.add_argument(
        "flow", metavar="MODULE:FLOW", help="as in app.flows:flow or app/flow.py:flow"
    )
    add_server(parser)


def provision(text: str) -> Provision:
    """What to do about streams and consumers."""
    for each in PROVISIONS:
        if text == each:
            return each
    msg = f"must be one of {', '.join(PROVISIONS)}"
    raise ValueError(msg)


@asynccontextmanager
async def opened_log(args: Namespace) -> AsyncIterator[tuple[PenguiFlow, JetStreamLog]]:
    """The flow and its log as it is: whoever only reads creates no stream.

    Raises:
        CommandError: the tenant has no log on this server.
        UsageError, FlowNotDurable, NatsError: as they come.
    """
    flow = load_flow(args.flow)
    name = flow_token(flow.graph, flow.name, flow.version)
    async with connected(server_of(args)) as connection:
        log = JetStreamLog(connection, tenant=args.tenant, flow=name)
        try:
            await log.jetstream.stream_info(log.names.log_stream)
        except ApiError as error:
            if error.err_code != error_codes.STREAM_NOT_FOUND:
                raise
            text = f"tenant {args.tenant} has no log on this server"
            hint = "a worker or a client of a flow creates it at its first start"
            raise CommandError(text, hint=hint) from error
        yield flow, log


def without_credentials(address: str) -> str:
    """An address as it may be shown: without user and password."""
    scheme, separator, rest = address.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@contextmanager
def explained(args: Namespace) -> Iterator[None]:
    """Turn what a server or a flow cannot do into what the user can.

    Raises:
        UsageError: the flow, or a name in the arguments, is not fit for it.
        CommandError: the server cannot be reached, or refuses.
    """
    try:
        yield
    except FlowNotDurable as error:
        raise UsageError(str(error)) from error
    except ConnectFailed as error:
        hint = "start a nats-server with JetStream, or name it by --nats or PENGUIFLOW_NATS_URL"
        raise CommandError(str(error), hint=hint) from error
    except TopologyDrift as error:
        raise CommandError(str(error)) from error
    except (NatsError, LogError) as error:
        text = f"the server at {', '.join(map(without_credentials, args.nats))} says: {error}"
        raise CommandError(text) from error


__all__ = [
    "DEFAULT_URL",
    "add_flow",
    "add_server",
    "explained",
    "opened_log",
    "provision",
    "server_of",
]
