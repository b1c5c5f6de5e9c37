"""FlowEvents and their log records: what, when, at which level, with which extras."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from penguiflow import FlowEvent, InMemoryArtifactStore, RemoteBinding, StoredEvent, create
from penguiflow.core import Context
from tests.support.flows import Events, chain, message, node, passing, settle
from tests.unit.runtime.conftest import Run

PAYLOAD_KEYS = {
    "ts", "event", "node_name", "node_id", "trace_id", "latency_ms", "q_depth_in", "q_depth_out",
    "q_depth_total", "outgoing", "queue_maxsize", "attempt", "trace_inflight", "trace_cancelled",
}  # fmt: skip


class Store:
    """A store that keeps events in order, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[StoredEvent] = []
        self.bindings: list[RemoteBinding] = []
        self.error = error

    async def save_event(self, event: StoredEvent) -> None:
        if self.error is not None:
            raise self.error
        self.events.append(event)

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        return [event for event in self.events if event.trace_id == trace_id]

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        if self.error is not None:
            raise self.error
        self.bindings.append(binding)


def event(**fields: Any) -> FlowEvent:
    values: dict[str, Any] = {
        "event_type": "node_start", "ts": 1.5, "node_name": "n", "node_id": "id", "trace_id": "t",
        "attempt": 2, "latency_ms": 3.5, "queue_depth_in": 4, "queue_depth_out": 5,
        "outgoing_edges": 6, "queue_maxsize": 7, "trace_pending": 8, "trace_inflight": 9,
        "trace_cancelled": True,
    }  # fmt: skip
    return FlowEvent(**{**values, **fields})


# ---- FlowEvent -----------------------------------------------------------------------------------


def test_payload() -> None:
    assert event(extra={"more": 1}).to_payload() == {
        "ts": 1.5, "event": "node_start", "node_name": "n", "node_id": "id", "trace_id": "t",
        "latency_ms": 3.5, "q_depth_in": 4, "q_depth_out": 5, "q_depth_total": 9, "outgoing": 6,
        "queue_maxsize": 7, "attempt": 2, "trace_inflight": 9, "trace_cancelled": True,
        "trace_pending": 8, "more": 1,
    }  # fmt: skip


def test_payload_without_a_trace_has_nothing_pending() -> None:
    assert set(event(trace_id=None).to_payload()) == PAYLOAD_KEYS


def test_event_is_frozen_and_its_extra_read_only() -> None:
    extra = {"k": 1}
    made = event(extra=extra)
    extra["k"] = 2
    assert made.extra == {"k": 1}
    with pytest.raises(FrozenInstanceError):
        made.attempt = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.extra["k"] = 3  # type: ignore[index]
    assert event().extra == {}
    assert replace(made, attempt=0).attempt == 0
    assert event() == event()


def test_depth_and_error_payload() -> None:
    assert event().queue_depth == 9
    assert event().error_payload is None
    assert event(extra={"flow_error": {"code": "X"}}).error_payload == {"code": "X"}


def test_metric_samples_are_floats() -> None:
    samples = event().metric_samples()
    assert samples == {
        "queue_depth_in": 4.0, "queue_depth_out": 5.0, "queue_depth_total": 9.0, "attempt": 2.0,
        "trace_inflight": 9.0, "trace_cancelled": 1.0, "trace_pending": 8.0, "latency_ms": 3.5,
    }  # fmt: skip
    assert all(type(value) is float for value in samples.values())
    unknown = event(trace_pending=None, latency_ms=None).metric_samples()
    assert not {"trace_pending", "latency_ms"} & set(unknown)


def test_tag_values_are_strings() -> None:
    extra = {"n": 1, "flag": True, "text": "x", "none": None, "list": [1]}
    assert event(extra=extra).tag_values() == {
        "event_type": "node_start", "node_name": "n", "node_id": "id", "trace_id": "t",
        "n": "1", "flag": "True", "text": "x",
    }  # fmt: skip


# ---- what a flow tells ---------------------------------------------------------------------------


async def test_events_of_a_successful_run(run: Run) -> None:
    events = Events()
    a, b = passing("a"), passing("b")
    flow = run(chain(a, b, middlewares=[events], queue_maxsize=7))
    await flow.emit(message(trace_id="t"))
    await flow.fetch()
    assert [(e.event_type, e.node_name) for e in events.all] == [
        ("node_start", "a"),
        ("node_success", "a"),
        ("node_start", "b"),
        ("node_success", "b"),
    ]
    start, success = events.all[:2]
    assert (start.node_id, start.trace_id, start.attempt, start.latency_ms) == (
        a.node_id,
        "t",
        0,
        0.0,
    )
    assert (start.queue_maxsize, start.outgoing_edges) == (7, 1)
    assert (start.trace_pending, start.trace_inflight, start.trace_cancelled) == (1, 0, False)
    assert (start.queue_depth_in, start.queue_depth_out) == (0, 0)
    assert success.latency_ms is not None
    assert success.latency_ms >= 0
    assert (success.queue_depth_out, success.trace_pending) == (1, 2)
    assert start.extra == success.extra == {}
    assert set(start.to_payload()) == PAYLOAD_KEYS | {"trace_pending"}


async def test_latency_includes_the_emission(run: Run) -> None:
    events = Events()

    class SlowBus:
        async def publish(self, envelope: Any) -> None:
            await asyncio.sleep(0.02)

    flow = run(create(passing("a").to(), middlewares=[events], message_bus=SlowBus()))
    await flow.emit(message())
    await flow.fetch()
    await settle()
    latency = events.one("node_success").latency_ms
    assert latency is not None
    assert latency >= 19


async def test_untraced_run(run: Run) -> None:
    events = Events()
    flow = run(create(passing("a").to(), middlewares=[events]))
    await flow.emit("plain")
    await flow.fetch()
    start = events.all[0]
    assert (start.trace_id, start.trace_pending, start.trace_inflight) == (None, None, 0)


async def test_stop_tells_each_node(run: Run) -> None:
    events = Events()
    flow = run(chain(passing("a"), passing("b"), middlewares=[events]))
    await settle()
    await flow.stop()
    assert [(e.event_type, e.node_name) for e in events.all] == [
        ("node_cancelled", "a"),
        ("node_cancelled", "b"),
    ]
    assert {(e.trace_id, e.attempt, e.latency_ms) for e in events.all} == {(None, 0, None)}
    await flow.stop()
    assert len(events.all) == 2


async def test_middlewares_are_awaited_in_order(run: Run) -> None:
    order: list[str] = []

    def middleware(name: str) -> Any:
        async def note(event: FlowEvent) -> None:
            await asyncio.sleep(0)
            order.append(f"{name} {event.event_type}")

        return note

    flow = create(passing("n").to(), middlewares=[middleware("first")])
    flow.add_middleware(middleware("second"))
    run(flow)
    await flow.emit(1)
    await flow.fetch()
    await settle()
    assert order == [
        "first node_start",
        "second node_start",
        "first node_success",
        "second node_success",
    ]


async def test_failing_middleware_does_not_reach_the_flow(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events()

    async def broken(event: FlowEvent) -> None:
        raise ValueError("broken")

    a = passing("a")
    flow = run(create(a.to(), middlewares=[broken, events]))
    await flow.emit(1)
    assert await flow.fetch() == 1
    await settle()
    assert events.names == ["node_start", "node_success"]
    record = caplog.records[0]
    assert (record.name, record.levelno, record.getMessage()) == (
        "penguiflow.core",
        logging.ERROR,
        "middleware_error",
    )
    assert record.__dict__["event"] == "middleware_error"
    assert record.__dict__["node_name"] == "a"
    assert record.__dict__["node_id"] == a.node_id
    assert "broken" in record.__dict__["exception"]


# ---- log records ---------------------------------------------------------------------------------


async def test_log_records(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "penguiflow.core")
    calls: list[int] = []

    async def shaky(msg: Any, ctx: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise TimeoutError("slow")
        if len(calls) == 2:
            raise ValueError("broken")
        return msg

    flow = run(create(node(shaky, "n", max_retries=1, backoff_base=0).to()))
    await flow.emit(message(trace_id="t"))
    await settle()
    await flow.emit(message("fine"))
    await flow.fetch()
    await flow.stop()
    records = [r for r in caplog.records if r.name == "penguiflow.core"]
    assert [(r.getMessage(), r.levelname, bool(r.exc_info)) for r in records] == [
        ("node_start", "DEBUG", False),
        ("node_timeout", "WARNING", True),
        ("node_retry", "INFO", False),
        ("node_start", "DEBUG", False),
        ("node_error", "ERROR", True),
        ("node_failed", "ERROR", True),
        ("node_start", "DEBUG", False),
        ("node_success", "INFO", False),
        ("node_cancelled", "DEBUG", False),
    ]
    for record in records:
        assert record.__dict__["event"] == record.getMessage()
        assert set(record.__dict__) >= PAYLOAD_KEYS
    retry = records[2].__dict__
    assert (retry["sleep_s"], retry["attempt"], retry["latency_ms"]) == (0.0, 1, None)
    assert retry["exception"] == "TimeoutError('slow')"
    assert records[5].__dict__["flow_error"]["code"] == "NODE_EXCEPTION"


async def test_extra_key_that_a_record_has_already_does_not_make_logging_raise(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "penguiflow.core")
    events = Events()
    n = passing("n")
    flow = run(create(n.to(), middlewares=[events]))
    extra = {"message": "m", "name": "x", "args": (1,), "own": 1}
    await flow.record_remote_event(
        event="remote_call_success", node=n, context=Context(n), trace_id="t", latency_ms=1.0,
        extra=extra,
    )  # fmt: skip
    record = caplog.records[-1]
    assert record.getMessage() == "remote_call_success"
    assert (record.levelname, record.name) == ("INFO", "penguiflow.core")
    assert record.__dict__["extra_message"] == "m"
    assert record.__dict__["own"] == 1
    assert events.all[-1].extra == extra


async def test_nothing_is_built_for_an_event_that_nobody_listens_to(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError

    flow = run(create(passing("n").to()))
    monkeypatch.setattr("penguiflow.events.FlowEvent", refuse)
    logging.getLogger("penguiflow.core").setLevel(logging.WARNING)
    try:
        await flow.emit(message(), trace_id="t")
        await flow.fetch(trace_id="t")
    finally:
        logging.getLogger("penguiflow.core").setLevel(logging.NOTSET)


# ---- store ---------------------------------------------------------------------------------------


async def test_store_gets_each_event_and_gives_the_history(run: Run) -> None:
    store, events = Store(), Events()
    flow = run(create(passing("n").to(), state_store=store, middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await flow.fetch()
    await settle()
    assert [e.kind for e in store.events] == ["node_start", "node_success"]
    assert [e.payload for e in store.events] == [e.to_payload() for e in events.all]
    history = await flow.load_history("t")
    assert list(history) == store.events
    assert await flow.load_history("u") == []


async def test_history_without_a_store(run: Run) -> None:
    text = r"^PenguiFlow was created without a state_store$"
    with pytest.raises(RuntimeError, match=text):
        await create().load_history("t")


async def test_failing_store_does_not_reach_the_flow(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    flow = run(create(passing("n").to(), state_store=Store(ValueError("full"))))
    await flow.emit(message("x", trace_id="t"))
    assert (await flow.fetch()).payload == "x"
    record = caplog.records[0].__dict__
    assert (record["event"], record["trace_id"], record["kind"]) == (
        "state_store_save_failed",
        "t",
        "node_start",
    )
    assert "full" in record["exception"]
    assert caplog.records[0].levelno == logging.ERROR


async def test_bindings_are_saved_and_failures_logged(caplog: pytest.LogCaptureFixture) -> None:
    binding = RemoteBinding(trace_id="t", context_id="c", task_id="k", agent_url="url")
    await create().save_remote_binding(binding)
    store = Store()
    await create(state_store=store).save_remote_binding(binding)
    assert store.bindings == [binding]
    await create(state_store=Store(ValueError())).save_remote_binding(binding)
    record = caplog.records[0].__dict__
    assert record["event"] == "state_store_binding_failed"
    assert record["agent_url"] == "url"
    assert "key" in record
    assert "exception" in record


async def test_store_may_be_any_object_with_the_three_methods() -> None:
    from penguiflow import StateStore

    class Plain(StateStore):
        def __init__(self) -> None:
            self.saved: list[Any] = []

        async def save_event(self, event: Any) -> None:
            self.saved.append(event)

    assert isinstance(Store(), StateStore)
    assert isinstance(Plain(), StateStore)
    assert not isinstance(InMemoryArtifactStore(), StateStore)
