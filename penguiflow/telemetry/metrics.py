"""Metrics by OpenTelemetry: `create(..., telemetry=Metrics())`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import MeterProvider, get_meter_provider

from penguiflow.telemetry.call_metrics import AgentMetrics, CallMetrics
from penguiflow.telemetry.flow_metrics import FlowMetrics
from penguiflow.telemetry.meters import Meters
from penguiflow.telemetry.service_metrics import ServiceMetrics

if TYPE_CHECKING:
    from penguiflow.telemetry.instrument import FlowPlace


class Metrics:
    """An instrument that counts and times with a provider of yours. `metric_names` lists what.

    The number of series is bounded: no attribute is a trace, a task or a subject, and a metric
    has at most a thousand sets of attributes; what comes later is counted together.

    Args:
        meter_provider: Whose metrics to make; by default the global provider.
        by_tenant: Whether metrics of flows have the tenant as an attribute.
    """

    def __init__(
        self, meter_provider: MeterProvider | None = None, *, by_tenant: bool = False
    ) -> None:
        self.meters: Meters = Meters(meter_provider or get_meter_provider())
        self._by_tenant = by_tenant

    def flow(self, place: FlowPlace) -> FlowMetrics:
        return FlowMetrics(self.meters, place, by_tenant=self._by_tenant)

    def calls(self) -> CallMetrics:
        return CallMetrics(self.meters)

    def agent(self, name: str, *, tenant: str, instance: str) -> AgentMetrics:
        return AgentMetrics(self.meters, name)

    def service(self, name: str, *, system: str) -> ServiceMetrics:
        return ServiceMetrics(self.meters, system=system)


__all__ = ["Metrics"]
