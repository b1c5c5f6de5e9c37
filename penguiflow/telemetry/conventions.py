"""The names of attributes: OpenTelemetry's conventions, version 1.44, and our own.

The messaging and GenAI conventions are not stable, so their keys stand here only. For NATS they
name nothing but the system; our own keys have the prefix `penguiflow.` or `nats.`.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
TEMPLATE: Final = "messaging.destination.template"
MESSAGE_ID: Final = "messaging.message.id"
BATCH: Final = "messaging.batch.message_count"
CLIENT_ID: Final = "messaging.client.id"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_AGENT: Final = "gen_ai.agent.name"
INVOKE_AGENT: Final = "invoke_agent"

EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

TRACE_ID: Final = "penguiflow.trace_id"
"""The flow's trace id, verbatim: on every span, so that a search finds those that are in another
trace, or whose id is no W3C trace id."""
FLOW: Final = "penguiflow.flow.name"
NODE: Final = "penguiflow.node.name"
TENANT: Final = "penguiflow.tenant"
ATTEMPT: Final = "penguiflow.attempt"
"""How many attempts on the input were made before, from 0."""
OUTCOME: Final = "penguiflow.outcome"
TASK: Final = "penguiflow.task.id"
SKILL: Final = "penguiflow.skill"
STREAMING: Final = "penguiflow.streaming"
BINDING: Final = "penguiflow.binding"
"""Which of a protocol's bindings a request came by."""
CHUNKS: Final = "penguiflow.stream.chunks"
CHUNK_CHARACTERS: Final = "penguiflow.stream.characters"
INPUT: Final = "penguiflow.input"
OUTPUT: Final = "penguiflow.output"
REASON: Final = "penguiflow.reason"
SLEEP: Final = "penguiflow.sleep_s"

SEQUENCE: Final = "nats.stream.sequence"
DELIVERIES: Final = "nats.delivery_count"

# Values of OUTCOME.
OK: Final = "ok"
RETRY: Final = "retry"
FAILED: Final = "failed"
REFUSED: Final = "refused"
"""The request asked for what is not to be had; the service works."""
TIMEOUT: Final = "timeout"
EXPIRED: Final = "expired"
"""The message's deadline had passed."""
CANCELLED: Final = "cancelled"
DEAD: Final = "dead_letter"
HANDED_BACK: Final = "handed_back"
"""The worker stopped, or the log had no room: it comes again, and no attempt was counted."""
GONE: Final = "gone"
"""The input was removed meanwhile: the result does not count."""
DUPLICATE: Final = "duplicate"
"""It was committed already: this one does not count."""
UNSETTLED: Final = "unsettled"
"""The log could not be told: the input comes again."""
LEFT: Final = "left"
"""Another replica goes on."""
PAUSED: Final = "paused"
"""The remote task waits for its caller."""
ABANDONED: Final = "abandoned"
"""Whoever read the answer stopped before its end."""
