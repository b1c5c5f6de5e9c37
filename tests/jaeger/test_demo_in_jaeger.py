"""`make demo` against a real Jaeger: the flow's trace id finds every hop of every process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jaeger.jaeger import Jaeger, JaegerMissing, find_jaeger, running_jaeger

pytestmark = [pytest.mark.slow, pytest.mark.jaeger, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
FLOW = "census-1"
NODES = ("split", "parse", "package", "combine", "summarise", "report")
_AUDIT = re.compile(r"^audit: .*\blost=0 twice=0 killed=1 trace=([0-9a-f]{32})$", re.MULTILINE)


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with running_jaeger(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture(scope="module")
def trace_id(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The trace that the demo names in its last line."""
    report = tmp_path_factory.mktemp("report")
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp,
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("OTEL_METRICS_EXPORTER", None)
    demo = subprocess.run(  # its output says what is wrong
        [sys.executable, "examples/stdlib_census/flow.py", "--out", str(report)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    found = _AUDIT.search(demo.stdout)
    assert found, demo.stdout[-2000:] + demo.stderr[-2000:]
    return found[1]


@pytest.fixture(scope="module")
def trace(jaeger: Jaeger, trace_id: str) -> dict[str, Any]:
    """The trace, when no more spans of it arrive."""
    seen, limit = -1, time.monotonic() + 60
    while time.monotonic() < limit:
        found = jaeger.trace(trace_id)
        count = 0 if found is None else len(found["spans"])
        if found is not None and count == seen:
            return found
        seen = count
        time.sleep(1.0)
    pytest.fail(f"trace {trace_id} is not in Jaeger: {seen} spans")


def _named(trace: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [span for span in trace["spans"] if span["operationName"] == name]


def _tags(holder: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in holder["tags"]}


def test_every_span_is_in_the_trace_of_the_flows_own_id(
    trace: dict[str, Any], trace_id: str
) -> None:
    assert {span["traceID"] for span in trace["spans"]} == {trace_id}
    assert {_tags(span)["penguiflow.trace_id"] for span in trace["spans"]} == {trace_id}


def test_every_process_is_a_service_of_its_own(jaeger: Jaeger, trace: dict[str, Any]) -> None:
    services = {process["serviceName"] for process in trace["processes"].values()}
    assert services == {"census-client", "census", "census-agent"}
    assert services <= set(jaeger.get("/api/services"))
    pids = {_tags(process)["process.pid"] for process in trace["processes"].values()}
    assert len(pids) >= 4  # the client, the agent, and more than one worker


def test_every_hop_is_there(trace: dict[str, Any]) -> None:
    for node in NODES:
        assert _named(trace, f"process pf.{FLOW}.{node}"), node
    parsed = _named(trace, f"process pf.{FLOW}.parse")
    assert len(parsed) > 1


def test_there_is_one_root_and_no_orphan(trace: dict[str, Any]) -> None:
    """An orphan, as Jaeger has it, refers to others, and none of them is in the trace.

    The killed worker took its last fifth of a second with it, so single references may lead
    nowhere: those of a join to branches that it worked on.
    """
    ids = {span["spanID"] for span in trace["spans"]}
    assert len(ids) == len(trace["spans"])
    roots = [span for span in trace["spans"] if not span["references"]]
    assert [span["operationName"] for span in roots] == [f"emit {FLOW}"]
    orphans = [
        span["operationName"]
        for span in trace["spans"]
        if span["references"] and not ids & {r["spanID"] for r in span["references"]}
    ]
    assert not orphans


def test_a_hop_is_a_child_in_another_process(trace: dict[str, Any]) -> None:
    by_id = {span["spanID"]: span for span in trace["spans"]}
    crossed = [
        span
        for span in trace["spans"]
        for above in [by_id.get(r["spanID"]) for r in span["references"][:1]]
        if above is not None and above["processID"] != span["processID"]
    ]
    assert {span["operationName"] for span in crossed} >= {f"process pf.{FLOW}.split"}


def test_the_join_has_a_parent_and_follows_from_the_other_branches(trace: dict[str, Any]) -> None:
    joined = _named(trace, f"process pf.{FLOW}.package")[-1]
    kinds = [reference["refType"] for reference in joined["references"]]
    assert kinds[0] == "CHILD_OF"
    assert set(kinds[1:]) == {"FOLLOWS_FROM"}
    published = {span["spanID"] for span in _named(trace, f"publish pf.{FLOW}.package")}
    linked = {reference["spanID"] for reference in joined["references"]}
    # The SDK keeps 128 links; branches of the killed worker may lack a span.
    assert len(linked) >= min(len(published), 128)
    assert len(linked & published) > len(linked) / 2


def test_the_remote_call_and_its_agent_are_in_it(trace: dict[str, Any]) -> None:
    by_id = {span["spanID"]: span for span in trace["spans"]}
    served = [
        span
        for span in trace["spans"]
        if trace["processes"][span["processID"]]["serviceName"] == "census-agent"
    ]
    assert served
    above = by_id[served[0]["references"][0]["spanID"]]
    assert _tags(above)["span.kind"] == "client"
    assert "first_chunk" in {field["value"] for log in above["logs"] for field in log["fields"]}


def test_without_a_jaeger_it_fails_and_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JAEGER_BIN", "/nowhere/jaeger")
    with pytest.raises(JaegerMissing, match=r"CONTRIBUTING\.md"):
        find_jaeger()
