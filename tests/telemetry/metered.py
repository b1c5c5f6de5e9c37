"""Metrics of one process, read when a test asks for them."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from penguiflow.telemetry import Metrics
from penguiflow.telemetry.metric_names import Metric


class Metered:
    """A provider, what it has counted, and the instrument that counts."""

    def __init__(self, **options: Any) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.metrics = Metrics(self.provider, **options)

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric that has any."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def total(self, metric: Metric, **wanted: str) -> float:
        """The sum over the points with these attributes: of values, or of a histogram's counts.

        An attribute is named by its last part: `node="parse"`.
        """
        return sum(
            getattr(point, "value", None) if metric.kind != "histogram" else point.count
            for point in self.points().get(metric.name, [])
            if all(_short(point.attributes).get(key) == value for key, value in wanted.items())
        )


def _short(attributes: Any) -> dict[str, Any]:
    short = {key.rsplit(".", 1)[-1]: value for key, value in attributes.items()}
    return short | {
        "node": attributes.get("penguiflow.node.name"),
        "flow": attributes.get("penguiflow.flow.name"),
        "operation": attributes.get("messaging.operation.name"),
        "error": attributes.get("error.type"),
    }
