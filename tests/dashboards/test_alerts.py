"""The alert rules: promtool's own tests of them, their metrics on a live server, and a runbook section for each."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.dashboards.promql_text import Expression

REPOSITORY = Path(__file__).parents[2]
DASHBOARDS = REPOSITORY / "dashboards"
RULES = [rule for group in yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
BY_NAME = [pytest.param(rule, id=rule["alert"]) for rule in RULES]
OF_PROMETHEUS = {"job", "instance"}


def promtool(*arguments: str) -> str:
    if shutil.which("promtool") is None:
        pytest.skip(
            "promtool is not installed (Debian: apt-get install --no-install-recommends prometheus): the rules were parsed "
            "and their metrics matched, but their tests did not run"
        )
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=DASHBOARDS, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_promtool_accepts_the_rules():
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", "alerts.yml")


def test_promtool_accepts_the_configuration_for_compose(tmp_path):
    secret = tmp_path / "metrics_key"
    secret.write_text("a key")
    configuration = (DASHBOARDS / "prometheus.yml").read_text()
    assert configuration.count("/run/secrets/metrics_key") == 1
    (tmp_path / "prometheus.yml").write_text(configuration.replace("/run/secrets/metrics_key", str(secret)))
    (tmp_path / "alerts.yml").write_bytes((DASHBOARDS / "alerts.yml").read_bytes())
    assert "prometheus.yml is valid" in promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_each_alert_fires_on_its_cause_and_not_beside_it():
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")


@pytest.mark.parametrize("rule", BY_NAME)
def test_an_alert_has_a_case_where_it_fires(rule):
    cases = yaml.safe_load((DASHBOARDS / "alerts.test.yml").read_text())["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"] if check["alertname"] == rule["alert"]]
    assert any(check["exp_alerts"] for check in checks)


@pytest.mark.parametrize("rule", BY_NAME)
def test_an_alert_asks_only_for_metrics_and_labels_that_the_server_exposes(live_server, rule):
    exposed = live_server.metric_labels() | {"up": set()}
    for metric, labels in Expression(rule["expr"]).labels.items():
        assert metric in exposed, f"/metrics has no {metric}"
        assert labels - OF_PROMETHEUS <= exposed[metric], f"{metric} has only the labels {exposed[metric]}"


def test_prometheus_evaluates_every_rule_and_a_healthy_server_is_not_called_down(prometheus):
    (group,) = prometheus.ask("rules")["groups"]
    assert {rule["name"]: rule["health"] for rule in group["rules"]} == {rule["alert"]: "ok" for rule in RULES}
    firing = {alert["labels"]["alertname"] for alert in prometheus.ask("alerts")["alerts"]}
    assert not firing & {"SpanledgerDown", "SpanledgerProjectionLagging", "SpanledgerQuarantinedFrames"}


@pytest.mark.parametrize("rule", BY_NAME)
def test_an_alert_has_a_severity_a_summary_and_a_section_of_the_runbook(rule):
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    headings = re.findall(r"^#+ (.+)$", (REPOSITORY / path).read_text(), re.MULTILINE)
    assert rule["alert"] in headings
