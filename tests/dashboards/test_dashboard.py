"""The committed dashboard is the generated one, and Grafana can show it."""

import itertools
import json
import re
from pathlib import Path

import pytest

from dashboards.generate import OUTPUT, render
from tests.dashboards.promql_text import Expression

DASHBOARD = json.loads((Path(__file__).parents[2] / "dashboards" / "spanledger.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
BY_TITLE = [pytest.param(panel, id=panel["title"]) for panel in PANELS]

# Grafana's unit ids that the panels use. An unknown id is shown as text behind the number.
UNITS = {"none", "short", "percentunit", "s", "bytes", "Bps", "reqps"}


def test_the_committed_dashboard_is_what_the_generator_writes():
    assert OUTPUT.read_text(encoding="utf-8") == render(), "run: python -m dashboards.generate"


def test_the_generator_writes_the_same_bytes_every_time():
    assert render() == render()


def test_every_panel_has_its_own_id_and_title():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    assert all(titles)


def test_no_panel_lies_on_another_or_beyond_the_grid():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["y"] >= 0
        assert place["x"] + place["w"] <= 24
        assert place["w"] > 0
        assert place["h"] > 0
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@pytest.mark.parametrize("panel", BY_TITLE)
def test_a_panel_says_what_it_shows_and_what_to_do(panel):
    assert len(panel["description"]) >= 80
    assert panel["description"].count(".") >= 2, "one sentence for what is shown, one for what to do"


@pytest.mark.parametrize("panel", BY_TITLE)
def test_a_panel_has_a_unit_thresholds_and_the_chosen_data_source(panel):
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    lowest, *levels = (step["value"] for step in defaults["thresholds"]["steps"])
    assert lowest is None
    assert levels == sorted(levels)
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("panel", BY_TITLE)
def test_a_legend_names_only_labels_that_the_expression_keeps(panel):
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
        groupings = re.findall(r"by \(([^)]*)\)", expression)
        labels = set().union(*Expression(expression).labels.values())
        kept = {label.strip() for grouping in groupings for label in grouping.split(",")} if groupings else labels
        named = {part.split("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
        assert named <= kept


def test_the_data_source_and_the_server_can_be_chosen():
    assert [(one["name"], one["type"]) for one in DASHBOARD["templating"]["list"]] == [
        ("datasource", "datasource"),
        ("instance", "query"),
    ]


def test_what_the_issue_asks_for_is_there():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert {"Runs", "Tool calls", "Errors", "Tokens", "Latency", "Ingest", "Projection"} <= set(rows)
