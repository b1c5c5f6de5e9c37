"""The public card at its well-known place, with what caches need."""

from __future__ import annotations

import hashlib
import json
import time
from email.utils import formatdate, parsedate_to_datetime

from a2a.types.a2a_pb2 import AgentCard
from a2a.utils.constants import AGENT_CARD_WELL_KNOWN_PATH
from google.protobuf.json_format import MessageToDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def card_route(card: AgentCard, max_age: int) -> Route:
    """Serves a card.

    Args:
        card: The card; signed, if it is to be.
        max_age: Seconds for which it may be kept.
    """
    # Not the SDK's dictionary, which adds fields of version 0.3.
    body = json.dumps(MessageToDict(card), separators=(",", ":"), ensure_ascii=False).encode()
    modified = int(time.time())
    headers = {
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "Cache-Control": f"public, max-age={max_age}",
        "Last-Modified": formatdate(modified, usegmt=True),
    }

    async def endpoint(request: Request) -> Response:
        if _is_known(request, headers["ETag"], modified):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    return Route(AGENT_CARD_WELL_KNOWN_PATH, endpoint, methods=["GET"])


def _is_known(request: Request, etag: str, modified: int) -> bool:
    """Whether the caller has the card already (RFC 9110, 13.1)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        given = {each.strip().removeprefix("W/") for each in tags.split(",")}
        return "*" in given or etag in given
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since).timestamp() >= modified
    except (TypeError, ValueError):
        return False
