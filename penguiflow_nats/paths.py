"""Which way through nats-py a connection takes, and the way back when it is not safe."""

import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from nats.aio.client import Client

from penguiflow_nats import natspy
from penguiflow_nats.direct import DirectLink
from penguiflow_nats.fastpath import FastClient, FastLink, self_test
from penguiflow_nats.link import Link, PublicLink
from penguiflow_nats.settings import ConnectionSettings, WirePath

logger = logging.getLogger("penguiflow.nats")


def choose_path(settings: ConnectionSettings) -> WirePath:
    """Return the path for clients of our own: the wanted one, or `public` where it is not safe."""
    websocket = any(urlsplit(server).scheme in ("ws", "wss") for server in settings.servers)
    if settings.path == "public" or websocket:
        return "public"
    if not natspy.internals_known(Client()):
        logger.warning("this version of nats-py is not known: only its public interface is used")
        return "public"
    if settings.path == "direct":
        return "direct"
    if not self_test():
        logger.warning("the fast path failed its self-test: nats-py's own parser is used")
        return "direct"
    return "fast"


def new_client(path: WirePath) -> Client:
    """Make an unconnected client for a path."""
    return FastClient() if path == "fast" else Client()


def make_link(
    client: Client, path: WirePath, on_callback_error: Callable[[str, Exception], None]
) -> Link:
    """Make a link over a connected client; one that the caller owns may bear less than `path`."""
    if path == "public" or not natspy.can_write_directly(client):
        return PublicLink(client, on_callback_error)
    if isinstance(client, FastClient):
        return FastLink(client, on_callback_error)
    return DirectLink(client, on_callback_error)
