"""What dashboards and alert rules name exists; what they link to as well."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from penguiflow.telemetry import conventions
from penguiflow.telemetry.metric_names import METRICS

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
ALERTS = DEPLOY / "prometheus/alerts.yml"
NAMES = {
    metric.prometheus + suffix
    for metric in METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}
LABELS = {
    value.replace(".", "_")
    for value in vars(conventions).values()
    if isinstance(value, str) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", value)
} | {"le"}
_METRIC = re.compile(r"\b(?:penguiflow|messaging|rpc)_[a-z_]+")
_BY = re.compile(r"\bby \(([^)]*)\)")
_FILTER = re.compile(r"\{([^}]*)\}")


def _expressions(dashboard: Path) -> list[str]:
    board = json.loads(dashboard.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return found + [variable["query"]["query"] for variable in board["templating"]["list"]]


def _rules() -> list[str]:
    return re.findall(r"^ +expr: (.+)$", ALERTS.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "expressions",
    [*(_expressions(path) for path in DASHBOARDS), _rules()],
    ids=[*(path.stem for path in DASHBOARDS), "alerts"],
)
def test_every_name_in_it_exists(expressions: list[str]) -> None:
    assert expressions
    for expression in expressions:
        unknown = set(_METRIC.findall(expression)) - NAMES - LABELS
        assert not unknown, expression
        grouped = {n.strip() for group in _BY.findall(expression) for n in group.split(",")}
        assert grouped <= LABELS, expression


def test_every_metric_is_on_a_dashboard() -> None:
    text = "\n".join(e for path in DASHBOARDS for e in _expressions(path))
    missing = [m.name for m in METRICS if not re.search(rf"\b{m.prometheus}", text)]
    assert not missing


def test_each_panel_has_its_own_place_and_the_datasource_that_is_provisioned() -> None:
    sources = (DEPLOY / "grafana/provisioning/datasources/penguiflow.yaml").read_text()
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
        assert len(set(places)) == len(places)
        for panel in board["panels"]:
            assert f"uid: {panel['datasource']['uid']}" in sources


def test_every_file_that_the_compose_file_names_is_there() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    mounted = re.findall(r"^ +- (\./[^:]+):", text, re.MULTILINE)
    assert mounted
    for name in mounted:
        assert (DEPLOY / name).exists(), name
    flow, agent = (
        re.search(r"worker\", \"(\S+):flow", text),
        re.search(r"agent\", \"(\S+):agent", text),
    )
    for found in (flow, agent):
        assert found is not None
        assert (DEPLOY.parent / found[1]).is_file()
