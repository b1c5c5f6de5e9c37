"""What counts: histograms of the provider, and counters and gauges that are read when asked for.

Counters are integers of ours, read by the provider when it collects: an addition costs a tenth of
a microsecond where the SDK's own counter costs five.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from penguiflow.telemetry.conventions import SCHEMA_URL
from penguiflow.telemetry.metric_names import DURATIONS, METRICS, Metric

MOST_SERIES: Final = 1000
"""Sets of attributes per metric. What comes later is counted together."""
OVERFLOW: Final = {"otel.metric.overflow": True}
"""The attributes of what is counted together, as OpenTelemetry's SDKs have it."""

Labels = tuple[tuple[str, str], ...]
"""Attributes as a key; never a trace id, a task or anything else that grows with use."""


class Series:
    """One value of a counter or a gauge."""

    __slots__ = ("attributes", "value")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes: Mapping[str, Any] = attributes
        self.value: int = 0


class Tally:
    """A counter or a gauge by attributes."""

    def __init__(self) -> None:
        self._series: dict[Labels, Series] = {}

    def at(self, labels: Labels) -> Series:
        """The value for these attributes; keep it where it is counted often."""
        found = self._series.get(labels)
        if found is None:
            full = len(self._series) >= MOST_SERIES
            key = () if full else labels
            found = self._series.setdefault(key, Series(OVERFLOW if full else dict(labels)))
        return found

    def observed(self, options: CallbackOptions) -> Iterable[Observation]:
        """What the provider is told."""
        return [Observation(each.value, each.attributes) for each in list(self._series.values())]


class Timer:
    """A histogram of seconds by attributes."""

    def __init__(self, record: Callable[[float, Mapping[str, Any]], None]) -> None:
        self._record = record
        self._known: dict[Labels, Mapping[str, Any]] = {}

    def record(self, seconds: float, labels: Labels) -> None:
        """Something took so long."""
        found = self._known.get(labels)
        if found is None:
            full = len(self._known) >= MOST_SERIES
            found = OVERFLOW if full else self._known.setdefault(labels, dict(labels))
        self._record(seconds, found)


class Meters:
    """All metrics of one provider."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("penguiflow", schema_url=SCHEMA_URL)
        self._timers = {m.name: _timer(meter, m) for m in METRICS if m.kind == "histogram"}
        self._tallies = {m.name: _tally(meter, m) for m in METRICS if m.kind != "histogram"}

    def timer(self, metric: Metric) -> Timer:
        """The histogram of a metric."""
        return self._timers[metric.name]

    def tally(self, metric: Metric) -> Tally:
        """The counter or gauge of a metric."""
        return self._tallies[metric.name]


def _timer(meter: Meter, metric: Metric) -> Timer:
    histogram = meter.create_histogram(
        metric.name,
        unit=metric.unit,
        description=metric.description,
        explicit_bucket_boundaries_advisory=DURATIONS,
    )
    return Timer(histogram.record)


def _tally(meter: Meter, metric: Metric) -> Tally:
    tally = Tally()
    create = (
        meter.create_observable_counter
        if metric.kind == "counter"
        else meter.create_observable_gauge
    )
    create(
        metric.name,
        callbacks=[tally.observed],
        unit=metric.unit,
        description=metric.description,
    )
    return tally


__all__ = ["MOST_SERIES", "Labels", "Meters", "Series", "Tally", "Timer"]
