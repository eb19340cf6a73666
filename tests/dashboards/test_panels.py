"""Every expression of the dashboard against a live server: its metrics are there, and Prometheus finds data for it."""

import json
import math
from pathlib import Path

import pytest

from tests.dashboards.promql_text import Expression

DASHBOARD = json.loads((Path(__file__).parents[2] / "dashboards" / "spanledger.json").read_text())

# What Grafana puts in the place of its variables. A rate must span the scrapes before and after the second sending.
VARIABLES = {"$instance": ".*", "$__rate_interval": "30s", "$__range": "5m"}

# Where a healthy server that has caught up shows zero. Everywhere else the fixtures must move the panel.
ZERO_WHEN_WELL = {
    "Runs in progress",
    "Lag now",
    "Frames in quarantine",
    "Requests in flight",
    "Bytes in flight",
    "Projection lag",
    "Projection lag in bytes",
    "Quarantined frames",
}
# Labels that Prometheus adds to every sample.
OF_PROMETHEUS = {"job", "instance"}

EXPRESSIONS = [
    pytest.param(panel["title"], target["expr"], id=f"{panel['title']}, {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]


def filled_in(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"a variable without a value in {expression}"
    return expression


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_a_panel_asks_only_for_metrics_and_labels_that_the_server_exposes(live_server, title, expression):
    exposed = live_server.metric_labels() | {"up": set()}
    for metric, labels in Expression(filled_in(expression)).labels.items():
        assert metric in exposed, f"{title}: /metrics has no {metric}"
        assert labels - OF_PROMETHEUS <= exposed[metric], f"{title}: {metric} has only the labels {exposed[metric]}"


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_a_panel_shows_data_in_prometheus(prometheus, title, expression):
    values = prometheus.values(filled_in(expression))
    assert values, f"{title} is empty"
    numbers = [value for value in values if not math.isnan(value)]
    assert numbers, f"{title} shows only NaN"
    assert all(value >= 0 and math.isfinite(value) for value in numbers)
    if title not in ZERO_WHEN_WELL:
        assert max(numbers) > 0, f"{title} does not move although there is data"


def test_the_server_variable_lists_the_server(prometheus, live_server):
    (variable,) = [one for one in DASHBOARD["templating"]["list"] if one["name"] == "instance"]
    assert variable["definition"] == 'label_values(up{job="spanledger"}, instance)'
    series = prometheus.ask("query", query='up{job="spanledger"}', time=prometheus.at)["result"]
    assert [one["metric"]["instance"] for one in series] == [live_server.api.removeprefix("http://")]
