"""The shipped alarms and dashboard, tested with Prometheus and the metrics of a running daemon."""

import json
import math
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from linewatch.capability.apart import Result
from linewatch.capability.shelf import Plan, Reported, Shelf
from linewatch.capability.study import Limits
from tests.capability.test_study import complete
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto
from tests.prometheus import SHIPPED, Prometheus
from tests.test_docs import rows

DASHBOARD = json.loads((ROOT / "config/grafana/linewatch.json").read_text())
RULES = (SHIPPED / "rules.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)
NAMES = re.compile(r"\b(?:linewatch_\w+|process_\w+|up\b)")
PANELS = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
]


def promtool(*arguments: str) -> str:
    """Run promtool in the folder of the rules, require success and return its output."""
    done = subprocess.run(["promtool", *arguments], cwd=SHIPPED, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts_configuration_and_rules(arguments: tuple[str, ...]) -> None:
    """The syntax is valid and every case of rules_test.yml passes: each alarm fires for its cause only."""
    assert "SUCCESS" in promtool(*arguments)


def test_every_alarm_has_a_case_that_fires_and_a_quiet_one() -> None:
    """A new alarm gets both in config/prometheus/rules_test.yml."""
    healthy, *failures = (SHIPPED / "rules_test.yml").read_text().split("  - name: ")[1:]
    fired = re.findall(r"alertname: (\w+)\s+eval_time: \w+\s+exp_alerts:\s+- exp_labels", "".join(failures))

    assert set(re.findall(r"alertname: (\w+)", healthy)) == set(ALERTS)
    assert "exp_alerts" not in healthy
    assert set(fired) == set(ALERTS)


def test_every_alarm_has_an_action_and_is_documented() -> None:
    """A new alarm gets its line under Alarms in docs/operations.md."""
    documented = [cells[0].strip("`") for cells in rows("operations.md", "alarm")]

    assert sorted(documented) == sorted(ALERTS)
    for rule in RULES.split("- alert: ")[1:]:
        assert re.search(r"severity: (page|ticket)", rule), rule
        assert re.search(r"summary: .*\n +action: ", rule), rule


def test_alarms_use_only_rates_that_are_recorded() -> None:
    """An alarm on a misspelt recording rule would never fire."""
    used = {name for expression in expressions() for name in re.findall(r"\blinewatch:[\w:]+", expression)}

    assert used == set(re.findall(r"- record: (\S+)", RULES))


def expressions() -> Iterator[str]:
    """Yield every expression of dashboard and rules."""
    yield from (expression for _, expression in PANELS)
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"][1:])
    yield from (note["expr"] for note in DASHBOARD["annotations"]["list"])
    yield from re.findall(r"expr: (.*?)\n +(?:for|labels|- record|\n|#)", RULES, re.DOTALL)


def for_now(expression: str) -> str:
    """Substitute Grafana's variables."""
    return expression.replace("$__rate_interval", "10s").replace("$station", ".*").replace("$product", ".*")


def studied(folder: Path) -> None:
    """Keep a set of parts with a complete study whose limits were proven."""
    shelf = Shelf(folder)
    study = replace(complete(), reference="weekly")
    shelf.keep("weekly", Plan("bottle", 3, "part", 7, 1_790_000_000_000, Limits(0.1, 0.1)), study.parts)
    reported = Reported("a", "b", "capable", 1_790_000_000_000, "Ann", {})
    shelf.report(shelf.add(study), Result("<html>", "a", "capable", {}), reported)


def test_dashboard_and_alarms_read_what_a_running_daemon_shows(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """After scraping a daemon, Prometheus knows every metric name and every panel has data."""
    wanted = {name for expression in expressions() for name in NAMES.findall(expression)}
    studied(tmp_path / "studies")
    with (
        Daemon(tmp_path, mosquitto.port, {"station.name": "line-7"}) as daemon,
        Prometheus(tmp_path, {"line-7": daemon.address.removeprefix("http://")}) as prometheus,
    ):

        def unknown() -> set[str]:
            return wanted - set(prometheus.ask("label/__name__/values"))

        def empty() -> list[str]:
            return [
                title
                for title, expression in PANELS
                if not any(map(math.isfinite, prometheus.values(for_now(expression))))
            ]

        prometheus.wait(unknown)
        prometheus.wait(empty)
        groups = prometheus.ask("rules")["groups"]
        up = prometheus.ask("query", query="up")["result"]
        stations = prometheus.ask("label/station/values")

    assert len(wanted) > 30
    assert [rule["lastError"] for group in groups for rule in group["rules"] if rule["health"] != "ok"] == []
    assert {rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "alerting"} == set(
        ALERTS
    )
    assert [series["metric"]["station"] for series in up] == ["line-7"]
    assert stations == ["line-7"]


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    """Grafana drops panels that overlap or repeat an id."""
    panels = DASHBOARD["panels"]
    places = [panel["gridPos"] for panel in panels]
    squares = [
        (x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < 24
