"""A user's own provider is respected, and none is needed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import TraceFlags

from penguiflow.telemetry import FlowPlace, Telemetry, TelemetryMissing, Tracing, setup
from penguiflow.telemetry.provider import is_wanted
from penguiflow.types import new_trace_id
from tests.acceptance.cli_process import ROOT, environment
from tests.telemetry.spans import Spans

PLACE = FlowPlace(flow="flow")


def test_only_our_own_tracer_is_given_trace_ids() -> None:
    spans = Spans()
    before = spans.provider.id_generator
    theirs = spans.provider.get_tracer("theirs")
    assert spans.tracing.flow(PLACE) is not None
    assert spans.provider.id_generator is before
    assert isinstance(theirs.id_generator, RandomIdGenerator)
    assert isinstance(spans.provider.get_tracer("later").id_generator, RandomIdGenerator)


def test_a_trace_without_an_id_of_ours_has_the_providers_own() -> None:
    spans = Spans()
    flow: Any = spans.tracing.flow(PLACE)
    first, second = flow.emitted(None), flow.emitted(None)
    assert first.context.trace_id != second.context.trace_id
    named = flow.emitted(new_trace_id())
    if hasattr(TraceFlags, "random_trace_id"):  # older releases know no such flag
        assert first.context.trace_flags.random_trace_id
        assert not named.context.trace_flags.random_trace_id


class _Foreign(trace.TracerProvider):
    """A provider that is not the SDK's: its spans know their parent, and nothing else."""

    def get_tracer(self, *args: Any, **options: Any) -> Any:
        return _ForeignTracer()


class _ForeignTracer(trace.NoOpTracer):
    pass


def test_another_sdk_is_led_into_the_trace_by_a_parent() -> None:
    trace_id = new_trace_id()
    flow: Any = Tracing(_Foreign()).flow(PLACE)
    assert f"{flow.emitted(trace_id).context.trace_id:032x}" == trace_id


def test_without_a_provider_nothing_is_observed() -> None:
    tracing = Tracing()
    assert tracing.flow(PLACE) is None
    assert tracing.calls() is None
    assert tracing.agent("a", tenant="t", instance="i") is None
    assert Telemetry(tracing).flow(PLACE) is None


def test_setting_up_touches_nothing_global() -> None:
    before = trace.get_tracer_provider()
    assert setup("test").flow(PLACE) is not None
    assert trace.get_tracer_provider() is before


WITHOUT_SDK = """
import asyncio, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from penguiflow import Node, NodePolicy, create
from penguiflow.telemetry import TelemetryMissing, Tracing, setup
async def double(value, ctx):
    return value * 2
async def main():
    flow = create(Node(double, policy=NodePolicy(validate="none")).to(), telemetry=Tracing())
    flow.run()
    await flow.emit(21)
    print(await flow.fetch())
    await flow.stop()
asyncio.run(main())
try:
    setup()
except TelemetryMissing as error:
    print(error)
"""


def test_without_the_sdk_everything_runs_and_setting_up_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    result, hint = done.stdout.splitlines()
    assert result == "42"
    assert "penguiflow[otel]" in hint


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
def test_the_standard_variables_say_whether_traces_are_exported(
    variables: dict[str, str], wanted: bool
) -> None:
    assert is_wanted(variables) is wanted


def test_the_standard_variables_say_what_is_sampled_and_who_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "said")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=seven,zone=a")
    telemetry = setup(default_service_name="default")
    tracer: Any = telemetry.parts[0]
    resource = tracer._tracer.resource.attributes
    assert resource["service.name"] == "said"
    assert (resource["service.instance.id"], resource["zone"]) == ("seven", "a")
    assert resource["process.pid"] > 0
    sampler = tracer._tracer._sampler
    assert sampler.get_description() == ParentBased(TraceIdRatioBased(0.25)).get_description()


def test_an_exporter_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(TelemetryMissing, match="carrier-pigeon"):
        setup()
