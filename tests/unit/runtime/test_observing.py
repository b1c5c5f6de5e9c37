"""Middlewares, log output, and events for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from penguiflow import (
    ExtraFormatter,
    FlowEvent,
    StructuredFormatter,
    configure_logging,
    create,
    format_flow_event,
    log_flow_events,
)
from tests.support.flows import Events, message, node, passing, settle
from tests.unit.runtime.conftest import Run


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("test.penguiflow")
    before = (made.handlers[:], made.level, made.propagate)
    yield made
    made.handlers[:], made.level, made.propagate = before[0], before[1], before[2]


def record(msg: str = "hello", exc: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    exc_info = (type(exc), exc, exc.__traceback__) if exc is not None else None
    made = logging.LogRecord("log.ger", logging.INFO, __file__, 1, msg, (), exc_info)
    made.__dict__.update(extra)
    return made


# ---- log_flow_events -----------------------------------------------------------------------------


async def fail_first(msg: Any, ctx: Any) -> Any:
    if not ctx.attempt:
        raise ValueError("broken")
    return msg


async def test_logs_starts_successes_and_errors(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "penguiflow.flow")
    shaky = node(fail_first, "n", max_retries=1, backoff_base=0)
    flow = run(create(shaky.to(), middlewares=[log_flow_events()]))
    await flow.emit(message(trace_id="t"))
    await flow.fetch()
    await settle()
    records = [r for r in caplog.records if r.name == "penguiflow.flow"]
    assert [(r.getMessage(), r.levelname) for r in records] == [
        ("node_start", "INFO"), ("node_error", "ERROR"), ("node_start", "INFO"),
        ("node_success", "INFO"),
    ]  # fmt: skip
    assert records[0].__dict__["node_name"] == "n"
    assert records[0].__dict__["trace_id"] == "t"


async def test_levels_and_logger_can_be_chosen(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "own")
    middleware = log_flow_events(
        logging.getLogger("own"), start_level=logging.DEBUG, success_level=logging.WARNING
    )
    flow = run(create(passing("n").to(), middlewares=[middleware]))
    await flow.emit(1)
    await flow.fetch()
    await settle()
    records = [r for r in caplog.records if r.name == "own"]
    assert [r.levelname for r in records] == ["DEBUG", "WARNING"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_latency_callback(run: Run, is_async: bool) -> None:
    heard: list[tuple[str, float, FlowEvent]] = []

    def callback(event_type: str, latency_ms: float, event: FlowEvent) -> None:
        heard.append((event_type, latency_ms, event))

    async def async_callback(event_type: str, latency_ms: float, event: FlowEvent) -> None:
        callback(event_type, latency_ms, event)

    middleware = log_flow_events(latency_callback=async_callback if is_async else callback)
    shaky = node(fail_first, max_retries=1, backoff_base=0)
    flow = run(create(shaky.to(), middlewares=[middleware]))
    await flow.emit(1)
    await flow.fetch()
    await settle()
    assert [each[0] for each in heard] == ["node_error", "node_success"]
    assert all(latency == event.latency_ms for _, latency, event in heard)


async def test_failing_latency_callback_is_only_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def callback(event_type: str, latency_ms: float, event: FlowEvent) -> None:
        raise ValueError("broken callback")

    events = Events()
    middlewares = [log_flow_events(latency_callback=callback), events]
    flow = run(create(passing("n").to(), middlewares=middlewares))
    await flow.emit(1)
    await flow.fetch()
    await settle()
    assert events.names == ["node_start", "node_success"]
    assert "broken callback" in caplog.text
    assert not [r for r in caplog.records if r.getMessage() == "middleware_error"]


# ---- format_flow_event ---------------------------------------------------------------------------


async def test_event_for_people(run: Run) -> None:
    events = Events()
    flow = run(create(node(fail_first, "n").to(), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await settle()
    start = events.all[0]
    assert format_flow_event(start) == start.to_payload()
    formatted = format_flow_event(events.one("node_failed"))
    assert formatted["flow_error_code"] == "NODE_EXCEPTION"
    assert formatted["flow_error_message"] == "Node 'n' raised ValueError: broken"
    assert formatted["event"] == "node_failed"


# ---- formatters ----------------------------------------------------------------------------------


def test_structured_record() -> None:
    line = json.loads(StructuredFormatter().format(record(attempt=1, node={1})))
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {
        "level": "INFO", "logger": "log.ger", "message": "hello",
        "extra": {"attempt": 1, "node": "{1}"},
    }  # fmt: skip


def test_structured_record_without_a_timestamp_and_indented() -> None:
    text = StructuredFormatter(include_timestamp=False, indent=2).format(record())
    assert text.count("\n") > 2
    assert json.loads(text) == {"level": "INFO", "logger": "log.ger", "message": "hello"}


def test_structured_record_with_an_exception() -> None:
    try:
        raise ValueError("broken")
    except ValueError as exc:
        line = json.loads(StructuredFormatter().format(record(exc=exc)))
    assert "ValueError: broken" in line["exception"]
    assert "Traceback" in line["exception"]


def test_text_with_extras() -> None:
    formatter = ExtraFormatter("%(levelname)s %(message)s")
    assert formatter.format(record()) == "INFO hello"
    text = formatter.format(record(k=1, s="text", none=None, long="x" * 200))
    assert text == f'INFO hello [k=1, s="text", none=None, long="{"x" * 100}..."]'


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"structured": True}, '"extra": {"k": 1}'),
        ({}, "hello [k=1]\n"),
        ({"include_extras": False}, "hello\n"),
    ],
)
def test_configured_logger(
    logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    expected: str,
) -> None:
    logger.addHandler(logging.NullHandler())
    configure_logging(logging.DEBUG, logger_name=logger.name, **options)
    configure_logging("INFO", logger_name=logger.name, **options)
    assert len(logger.handlers) == 1
    assert not logger.propagate
    logger.handlers[0].stream = sys.stderr  # type: ignore[attr-defined]
    logger.debug("quiet")
    logger.info("hello", extra={"k": 1})
    written = capsys.readouterr().err
    assert expected in written
    assert "quiet" not in written
