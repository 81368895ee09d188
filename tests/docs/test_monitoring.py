"""monitoring/: alert rules and a dashboard that ask for what dbsync tells, in words that Prometheus understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbsync.meters import METERS, Kind
from tests.docs.manual import ROOT, helps, names
from tests.support.promtool import promtool

FOLDER = ROOT / "monitoring"
RULES = FOLDER / "prometheus" / "dbsync.rules.yaml"
TEST = RULES.with_name("dbsync.rules.test.yaml")
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
BOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "dbsync.json").read_text())
TARGETS = {"job", "instance", "le"}
"""Labels that Prometheus itself gives."""


def told() -> dict[str, set[str]]:
    """Give each name under which something can be asked for, with its labels."""
    found: dict[str, set[str]] = {}
    for meter in METERS:
        ends = ("_bucket", "_sum", "_count") if meter.kind is Kind.HISTOGRAM else ("",)
        found |= {f"{meter.name}{end}": {*meter.labels} for end in ends}
    return found


def asked() -> Iterator[tuple[str, str]]:
    """Give every expression, and where it stands."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in BOARD["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
    for variable in BOARD["templating"]["list"]:
        yield from ((variable["name"], f"{variable['definition']}") for _ in range("definition" in variable))


def test_every_metric_that_is_asked_for_is_told_with_the_labels_that_are_asked_for() -> None:
    known = told()
    for place, expression in asked():
        found = re.findall(r"\b(dbsync_\w+)(?:\{([^}]*)\})?", expression)
        assert found or re.search(r"\b(up|process_\w+)\{", expression), place
        labels = set().union(TARGETS, *(known.get(name, set()) for name, _ in found))
        for name, matchers in found:
            assert name in known, f"{place}: nobody tells {name}"
            assert set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', matchers)) <= known[name] | TARGETS, f"{place}: {name}"
        for by in re.findall(r"\bby \(([\w, ]+)\)", expression):
            assert set(re.split(r", ?", by)) <= labels, f"{place}: by ({by})"


def test_every_metric_is_in_the_dashboard_or_in_a_rule_unless_it_is_a_detail() -> None:
    used = " ".join(expression for _, expression in asked())
    unused = {meter.name for meter in METERS if meter.name not in used}
    assert unused == {
        "dbsync_link_state_since_timestamp_seconds",
        "dbsync_link_acknowledged_batch",
        "dbsync_link_last_receipt_timestamp_seconds",
        "dbsync_link_last_contact_timestamp_seconds",
        "dbsync_link_quarantined_changes",
        "dbsync_shipped_batches_total",
        "dbsync_shipped_held_changes_total",
        "dbsync_broker_messages",
        "dbsync_carried_changes_total",
        "dbsync_applied_batches_total",
        "dbsync_applied_bytes_total",
        "dbsync_applied_held_changes_total",
        "dbsync_applied_retries_total",
        "dbsync_relay_delivered_bundles_total",
        "dbsync_relay_last_visit_timestamp_seconds",
    }


def test_prometheus_takes_the_rules() -> None:
    assert promtool("check", "rules", str(RULES)) == ""


def test_each_alert_fires_when_it_should_and_none_when_all_is_well() -> None:
    assert promtool("test", "rules", str(TEST)) == ""
    sick, *_ = yaml.safe_load(TEST.read_text())["tests"]
    fired = re.findall(r'alertname="(\w+)"', str(sick["promql_expr_test"]))
    assert sorted(fired) == sorted(alert["alert"] for alert in ALERTS)


def test_each_alert_says_how_bad_it_is_and_what_to_type() -> None:
    commands = names(helps()[""])
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("warning", "critical")
        said = alert["annotations"]["description"]
        typed = re.findall(r"\bdbsync ([a-z]+(?:-[a-z]+)*)", said)
        assert set(typed) - {"serve"} <= set(commands), alert["alert"]
        assert typed or "systemctl" in said or "journalctl" in said or "NTP" in said, alert["alert"]


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]
    rules = [
        {"record": f"asked:{number}", "expr": expression.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for number, expression in enumerate(expressions)
    ]
    written = tmp_path / "asked.yaml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert len(rules) > 20
    assert promtool("check", "rules", str(written)) == ""


def test_no_panel_of_the_dashboard_lies_over_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    identities = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(identities)) == len(identities)
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


@pytest.mark.parametrize(
    "panel", [panel for panel in BOARD["panels"] if panel["type"] != "row"], ids=lambda panel: panel["title"]
)
def test_a_panel_says_what_it_shows_and_takes_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
