"""The public names, where they are imported from, and how they are called. All of it is frozen."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import penguiflow
from penguiflow import core

TOP_LEVEL: Mapping[str, str] = {
    "types": "Headers Message StreamChunk PlanStep Thought WM FinalAnswer",
    "node": "Node NodePolicy",
    "registry": "ModelRegistry",
    "core": "PenguiFlow create DEFAULT_QUEUE_MAXSIZE CycleError Context call_playbook",
    "errors": "FlowError FlowErrorCode",
    "metrics": "FlowEvent",
    "middlewares": "Middleware LatencyCallback log_flow_events",
    "debug": "format_flow_event",
    "logging": "configure_logging StructuredFormatter ExtraFormatter",
    "patterns": "map_concurrent join_k predicate_router union_router",
    "policies": "RoutingRequest RoutingPolicy DictRoutingPolicy",
    "streaming": "format_sse_event chunk_to_ws_json stream_flow emit_stream_events",
    "viz": "flow_to_mermaid flow_to_dot",
    "bus": "BusEnvelope MessageBus",
    "state": "StateStore StoredEvent RemoteBinding SupportsConversationBindings StateUpdate "
    "TaskContextSnapshot SteeringEvent UpdateType TaskStatus TaskType SteeringEventType",
    "artifacts": "ArtifactScope ArtifactRef ArtifactRetentionConfig ArtifactStore "
    "InMemoryArtifactStore NoOpArtifactStore discover_artifact_store",
    "sessions": "SessionStateStore InMemorySessionStateStore StateStoreSessionAdapter",
    "steering": "SteeringInbox SteeringCancelled",
    "remote": "RemoteCallRequest RemoteCallResult RemoteStreamEvent RemoteTaskStatus "
    "RemoteTaskSnapshot RemoteTaskEvent RemoteTaskPage RemotePushNotificationBinding "
    "RemoteTaskInputRequired RemoteTaskAuthRequired RemoteTaskState REMOTE_TERMINAL_TASK_STATES "
    "RemoteTransport SupportsRemoteTasks RemoteNode",
}
"""Names at the top level, by the module that they are at home in."""

BY_PATH: Mapping[str, str] = {
    "core": "Endpoint OPEN_SEA ROOKERY Floe TraceCancelled PlaybookFactory BUDGET_EXCEEDED_TEXT "
    "DEADLINE_EXCEEDED_TEXT TOKEN_BUDGET_EXCEEDED_TEXT",
    "policies": "evaluate_policy PolicyLike PolicyCallable RoutingDecisionType",
    "admin": "load_state_store render_events main entry",
    "testkit": "run_one get_recorded_events assert_node_sequence simulate_error "
    "assert_preserves_message_envelope",
    "state": "TaskState TaskStateModel SupportsPlannerState SupportsMemoryState SupportsTasks "
    "SupportsSteering SupportsTrajectories SupportsPlannerEvents SupportsArtifacts "
    "missing_capabilities require_capabilities InMemoryStateStore PlaygroundArtifactStore",
    "state.in_memory": "InMemoryStateStore PlaygroundArtifactStore",
    "state.adapters": "get_artifact_store maybe_save_remote_binding save_task_compat "
    "list_tasks_compat save_update_compat list_updates_compat save_steering_compat "
    "list_steering_compat save_planner_event_compat list_planner_events_compat",
    "artifacts": "ScopedArtifacts sanitize_artifact_namespace",
    "steering": "sanitize_payload sanitize_steering_event validate_steering_event "
    "SteeringValidationError",
    "steering.steering": "SteeringInbox SteeringCancelled SteeringValidationError "
    "sanitize_payload sanitize_steering_event validate_steering_event",
    "sessions": "UpdateBroker StateUpdate TaskState SteeringEvent",
    "sessions.broker": "UpdateBroker",
    "sessions.persistence": "SessionStateStore InMemorySessionStateStore StateStoreSessionAdapter",
    "sessions.models": "StateUpdate TaskState TaskStateModel TaskContextSnapshot SteeringEvent",
}
"""Names that are imported from their module only."""


def pairs(names: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    return [(module, name) for module, text in names.items() for name in text.split()]


@pytest.mark.parametrize(("module", "name"), pairs(TOP_LEVEL))
def test_name_is_at_home_and_at_the_top_level(module: str, name: str) -> None:
    home = importlib.import_module(f"penguiflow.{module}")
    assert getattr(penguiflow, name) is getattr(home, name)


@pytest.mark.parametrize(("module", "name"), pairs(BY_PATH))
def test_name_is_importable_by_path_only(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(f"penguiflow.{module}"), name)
    elsewhere = any(name in names.split() for names in TOP_LEVEL.values())
    assert elsewhere or name not in penguiflow.__all__


def test_top_level_has_these_names_and_no_others() -> None:
    expected = {name for _, name in pairs(TOP_LEVEL)} | {"__version__", "testkit"}
    assert set(penguiflow.__all__) == expected
    assert all(hasattr(penguiflow, name) for name in expected)


def parameters(call: Any) -> str:
    """The parameters of a call with their defaults, without their types."""
    made = inspect.signature(call)
    shown = [each.replace(annotation=inspect.Parameter.empty) for each in made.parameters.values()]
    return str(made.replace(parameters=shown, return_annotation=inspect.Signature.empty))


FLOW_OPTIONS = (
    "(*adjacencies, queue_maxsize=64, allow_cycles=False, middlewares=None, "
    "emit_errors_to_rookery=False, state_store=None, message_bus=None, "
)
CHUNK = "(self, *, parent, text, stream_id=None, seq=None, done=False, meta=None, to=None)"

SIGNATURES: Sequence[tuple[Any, str]] = [
    (penguiflow.create, FLOW_OPTIONS),
    (penguiflow.PenguiFlow, FLOW_OPTIONS),
    (penguiflow.PenguiFlow.run, "(self, *, registry=None)"),
    (penguiflow.PenguiFlow.stop, "(self, "),
    (penguiflow.PenguiFlow.emit, "(self, msg, to=None, *, trace_id=None"),
    (penguiflow.PenguiFlow.emit_nowait, "(self, msg, to=None, *, trace_id=None)"),
    (penguiflow.PenguiFlow.fetch, "(self, from_=None, *, trace_id=None)"),
    (penguiflow.PenguiFlow.fetch_any, "(self, from_=None, *, trace_id=None)"),
    (penguiflow.PenguiFlow.load_history, "(self, trace_id)"),
    (penguiflow.PenguiFlow.ensure_trace_event, "(self, trace_id)"),
    (penguiflow.PenguiFlow.register_external_task, "(self, trace_id, future)"),
    (penguiflow.PenguiFlow.save_remote_binding, "(self, binding)"),
    (
        penguiflow.PenguiFlow.record_remote_event,
        "(self, *, event, node, context, trace_id, latency_ms, level=20, extra=None)",
    ),
    (penguiflow.PenguiFlow.cancel, "(self, trace_id)"),
    (penguiflow.PenguiFlow.emit_chunk, CHUNK),
    (penguiflow.PenguiFlow.add_middleware, "(self, middleware)"),
    (penguiflow.Context, "(owner, runtime=None"),
    (penguiflow.Context.emit, "(self, msg, to=None"),
    (penguiflow.Context.emit_nowait, "(self, msg, to=None)"),
    (penguiflow.Context.fetch, "(self, from_=None)"),
    (penguiflow.Context.fetch_any, "(self, from_=None)"),
    (penguiflow.Context.fetch_nowait, "(self, from_=None)"),
    (penguiflow.Context.emit_chunk, CHUNK),
    (penguiflow.Context.call_playbook, "(self, playbook, parent_msg, *, timeout=None)"),
    (penguiflow.call_playbook, "(playbook, parent_msg, timeout=None, *, runtime=None)"),
    (core.Floe, "(source, target, *, maxsize"),
    (core.TraceCancelled, "(trace_id)"),
    (penguiflow.Node, "(func, name=None, policy=<factory>, allow_cycle=False)"),
    (penguiflow.Node.invoke, "(self, message, ctx, *, registry)"),
    (
        penguiflow.NodePolicy,
        (
            "(validate='both', timeout_s=None, max_retries=0, backoff_base=0.5, "
            "backoff_mult=2.0, max_backoff=None"
        ),
    ),
    (penguiflow.ModelRegistry.register, "(self, node_name, in_model, out_model)"),
    (
        penguiflow.FlowError,
        "(*, trace_id, node_name, code, message, original_exc=None, node_id=None, metadata=None)",
    ),
    (
        penguiflow.FlowError.from_exception,
        "(*, trace_id, node_name, node_id, exc, code, message=None, metadata=None)",
    ),
    (
        penguiflow.FlowEvent,
        (
            "(event_type, ts, node_name, node_id, trace_id, attempt, latency_ms, queue_depth_in, "
            "queue_depth_out, outgoing_edges, queue_maxsize, trace_pending, trace_inflight, "
            "trace_cancelled, extra="
        ),
    ),
    (
        penguiflow.log_flow_events,
        "(logger=None, *, start_level=20, success_level=20, error_level=40, latency_callback=None)",
    ),
    (
        penguiflow.configure_logging,
        "(level=20, *, structured=False, include_extras=True, logger_name='penguiflow')",
    ),
    (penguiflow.StructuredFormatter, "(include_timestamp=True, indent=None)"),
    (penguiflow.ExtraFormatter, "(fmt=None, datefmt=None)"),
    (penguiflow.map_concurrent, "(items, worker, *, max_concurrency=8)"),
    (penguiflow.join_k, "(name, k"),
    (penguiflow.predicate_router, "(name, predicate, *, policy=None)"),
    (penguiflow.union_router, "(name, union_model, *, policy=None)"),
    (penguiflow.RoutingRequest, "(message, context, node, proposed, trace_id)"),
    (penguiflow.DictRoutingPolicy, "(mapping, *, default=None, key_getter=None)"),
    (
        penguiflow.DictRoutingPolicy.from_env,
        "(env_var, *, loader=None, default=None, key_getter=None)",
    ),
    (penguiflow.format_sse_event, "(chunk, *, event_name=None, retry_ms=None)"),
    (penguiflow.chunk_to_ws_json, "(chunk, *, extra=None)"),
    (penguiflow.stream_flow, "(flow, parent_msg, *, to=None, timeout=None, include_final=False)"),
    (
        penguiflow.emit_stream_events,
        "(source, ctx, parent_msg, *, adapter=None, to=None, final_meta=None)",
    ),
    (penguiflow.flow_to_mermaid, "(flow, *, direction='TD')"),
    (penguiflow.flow_to_dot, "(flow, *, rankdir='TB')"),
    (penguiflow.testkit.run_one, "(flow, message, *, registry=None, timeout_s=1.0)"),
    (penguiflow.testkit.assert_node_sequence, "(trace_id, expected)"),
    (
        penguiflow.testkit.simulate_error,
        (
            "(node_name, code, *, fail_times=1, result=None, result_factory=None, "
            "exception_type=<class 'RuntimeError'>)"
        ),
    ),
    (
        penguiflow.testkit.assert_preserves_message_envelope,
        "(node, *, message=None, ctx=None)",
    ),
    (
        penguiflow.RemoteNode,
        (
            "(*, transport, skill, agent_url, name, agent_card=None, policy=None, "
            "streaming=False, record_binding=True"
        ),
    ),
]
"""Calls and their parameters. Without a closing bracket, own optional ones may follow."""


@pytest.mark.parametrize(
    ("call", "expected"), SIGNATURES, ids=[call.__qualname__ for call, _ in SIGNATURES]
)
def test_call_takes_these_parameters(call: Any, expected: str) -> None:
    shown = parameters(call)
    if expected.endswith(")"):
        assert shown == expected
    else:
        assert shown.startswith(expected)
        contract = set(re.findall(r"\w+", expected))
        own = [p for name, p in inspect.signature(call).parameters.items() if name not in contract]
        assert all(each.default is not inspect.Parameter.empty for each in own)


def test_import_is_quiet_and_loads_nothing_optional() -> None:
    program = (
        "import sys, penguiflow; "
        "print([m for m in ('nats', 'starlette', 'httpx', 'a2a', 'grpc', "
        "'opentelemetry.sdk') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
