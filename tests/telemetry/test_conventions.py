"""Our names of attributes are those of the conventions that are installed."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes,
    messaging_attributes,
)
from opentelemetry.semconv.attributes import (
    error_attributes,
    exception_attributes,
    server_attributes,
)

from penguiflow.telemetry import conventions as c


def test_our_names_are_those_of_the_conventions() -> None:
    assert c.SYSTEM == messaging_attributes.MESSAGING_SYSTEM
    assert c.OPERATION == messaging_attributes.MESSAGING_OPERATION_NAME
    assert c.OPERATION_TYPE == messaging_attributes.MESSAGING_OPERATION_TYPE
    assert c.TEMPLATE == messaging_attributes.MESSAGING_DESTINATION_TEMPLATE
    assert c.MESSAGE_ID == messaging_attributes.MESSAGING_MESSAGE_ID
    assert c.BATCH == messaging_attributes.MESSAGING_BATCH_MESSAGE_COUNT
    assert c.CLIENT_ID == messaging_attributes.MESSAGING_CLIENT_ID
    assert c.GEN_AI_OPERATION == gen_ai_attributes.GEN_AI_OPERATION_NAME
    assert c.GEN_AI_AGENT == gen_ai_attributes.GEN_AI_AGENT_NAME
    assert c.SERVER_ADDRESS == server_attributes.SERVER_ADDRESS
    assert c.SERVER_PORT == server_attributes.SERVER_PORT
    assert c.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert c.EXCEPTION_TYPE == exception_attributes.EXCEPTION_TYPE
    assert c.EXCEPTION_MESSAGE == exception_attributes.EXCEPTION_MESSAGE
    types = {each.value for each in messaging_attributes.MessagingOperationTypeValues}
    assert {"send", "process", "settle"} <= types


def test_our_own_names_have_a_prefix_of_ours() -> None:
    own = [
        value
        for name, value in vars(c).items()
        if name.isupper() and isinstance(value, str) and "." in value and "/" not in value
    ]
    known = (
        "messaging.",
        "penguiflow.",
        "nats.",
        "rpc.",
        "gen_ai.",
        "error.",
        "exception.",
        "server.",
    )
    assert [value for value in own if not value.startswith(known)] == []
