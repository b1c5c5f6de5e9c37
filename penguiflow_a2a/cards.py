"""A card from what a flow says of itself: its nodes, their models and their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentSkill,
)

from penguiflow.flow import PenguiFlow
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow_a2a.orders import DEADLINE, IDEMPOTENCY

SCHEMAS = "urn:penguiflow:a2a:schemas"
"""Extension that holds the JSON schemas of the skills: `{skill: {"input": ..., "output": ...}}`."""
_MODES = ("text/plain", "application/json")


def card_of(
    agent: Any,
    *,
    url: str,
    grpc_url: str | None = None,
    name: str | None = None,
    description: str | None = None,
    version: str = "1.0.0",
    registry: ModelRegistry | None = None,
    streaming: bool = True,
    push_notifications: bool = False,
    input_modes: Sequence[str] = _MODES,
) -> AgentCard:
    """The card of a flow, or of an async function.

    Args:
        agent: What is served.
        url: Where it is reached by HTTP, with a slash at the end or without.
        grpc_url: Where it is reached by gRPC, as `host:port`, if it is.
        name: Its name; that of the flow or the function by default.
        description: What it does; the docstring by default.
        version: Of the agent.
        registry: The models of the flow's nodes.
        streaming: Whether it streams.
        push_notifications: Whether it calls webhooks.
        input_modes: Media types that it takes.
    """
    entries = list(_entries(agent))
    called = name or _name(agent)
    skills = [_skill(each, input_modes) for each in entries]
    told = (
        description
        or _about(agent)
        or "; ".join(each.description for each in skills if each.description)
    )
    card = AgentCard(
        name=called,
        description=told or called,
        version=version,
        supported_interfaces=_interfaces(url.rstrip("/"), grpc_url),
        capabilities=AgentCapabilities(streaming=streaming, push_notifications=push_notifications),
        default_input_modes=input_modes,
        default_output_modes=_MODES,
        skills=skills,
    )
    for uri, text in (
        (IDEMPOTENCY, "The same key in a request's metadata gives the same task."),
        (DEADLINE, "Seconds, in a request's metadata, until nobody waits any more."),
    ):
        card.capabilities.extensions.append(AgentExtension(uri=uri, description=text))
    schemas = _schemas(agent, entries, registry)
    if schemas:
        extension = AgentExtension(uri=SCHEMAS, description="JSON schemas of the skills.")
        extension.params.update(schemas)
        card.capabilities.extensions.append(extension)
    return card


def _interfaces(url: str, grpc_url: str | None) -> list[AgentInterface]:
    found = [("JSONRPC", url + "/"), ("HTTP+JSON", url)]
    if grpc_url is not None:
        found.append(("GRPC", grpc_url))
    return [
        AgentInterface(protocol_binding=binding, url=each, protocol_version="1.0")
        for binding, each in found
    ]


def _entries(agent: Any) -> Iterator[Any]:
    """What takes messages: the ingress nodes of a flow, or the function itself."""
    if isinstance(agent, PenguiFlow):
        yield from agent.graph.ingress
    else:
        yield agent


def _name(agent: Any) -> str:
    if isinstance(agent, PenguiFlow):
        return agent.name or "flow"
    return str(getattr(agent, "__name__", "agent"))


def _doc(function: Any) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def _about(agent: Any) -> str:
    return "" if isinstance(agent, PenguiFlow) else _doc(agent)


def _skill(entry: Any, input_modes: Sequence[str]) -> AgentSkill:
    function = entry.func if isinstance(entry, Node) else entry
    name = str(entry.name if isinstance(entry, Node) else getattr(entry, "__name__", "agent"))
    return AgentSkill(
        id=name,
        name=name,
        description=_doc(function) or f"Takes messages for {name}.",
        tags=["penguiflow"],
        input_modes=input_modes,
        output_modes=_MODES,
    )


def _schemas(agent: Any, entries: Sequence[Any], registry: ModelRegistry | None) -> dict[str, Any]:
    if registry is None or not isinstance(agent, PenguiFlow):
        return {}
    ends = (each for each in agent.graph.egress if registry.has(str(each.name)))
    output = next((registry.models(str(each.name))[1] for each in ends), None)
    found: dict[str, Any] = {}
    for entry in entries:
        if registry.has(entry.name):
            schema: dict[str, Any] = {"input": registry.models(entry.name)[0].model_json_schema()}
            if output is not None:
                schema["output"] = output.model_json_schema()
            found[entry.name] = schema
    return found


def signed(card: AgentCard, key: Any, *, algorithm: str, key_id: str, jku: str = "") -> AgentCard:
    """The card with a signature (JWS over its canonical JSON).

    Args:
        card: The card; it is not changed.
        key: The private key.
        algorithm: Its algorithm, "ES256" for instance.
        key_id: What the key is called.
        jku: Where the public keys are found, if anywhere.
    """
    from a2a.utils.signing import create_agent_card_signer

    header = {"alg": algorithm, "kid": key_id, "typ": "JOSE"}
    if jku:
        header["jku"] = jku
    copy = AgentCard()
    copy.CopyFrom(card)
    make: Any = create_agent_card_signer
    result: AgentCard = make(signing_key=key, protected_header=header)(copy)
    return result
