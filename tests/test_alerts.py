"""The alerts and the dashboard, by Prometheus' own tool; tests/broker/test_alerts.py runs them."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.promql import (
    CONFIG,
    DASHBOARD,
    GROUPS,
    PANELS,
    RULES,
    asked,
    filled_in,
    queries,
)

CASES = Path(__file__).with_name("prometheus_alerts_test.yml")
README = (CONFIG.parent / "README.md").read_text(encoding="utf-8")
NAMES = [rule["alert"] for rule in RULES]
WIDTH = 24  # columns of a Grafana dashboard

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool; it is in Debian's package prometheus"
)


def promtool(*arguments: str | Path) -> tuple[bool, str]:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode == 0, done.stdout + done.stderr


def spoilt(expr: str, names: Collection[str], folder: Path) -> tuple[bool, str]:
    """Whether the cases pass where these alerts have another expression; and promtool's words."""
    groups: Any = yaml.safe_load(yaml.safe_dump(GROUPS))
    for group in groups:
        for rule in group["rules"]:
            if rule["alert"] in names:
                rule["expr"] = expr
    rules, cases = folder / "rules.yml", folder / "cases.yml"
    rules.write_text(yaml.safe_dump({"groups": groups}))
    cases.write_text(CASES.read_text().replace("../config/prometheus-alerts.yml", str(rules)))
    return promtool("test", "rules", cases)


class TestAlerts:
    @needs_promtool
    def test_they_fire_when_they_should_and_only_then(self) -> None:
        good, said = promtool("test", "rules", CASES)
        assert good, said

    @needs_promtool
    @pytest.mark.slow
    @pytest.mark.parametrize("name", NAMES)
    def test_a_case_notices_one_that_fires_always(self, name: str, tmp_path: Path) -> None:
        always = 'group by (job, instance, reason) ({__name__=~"up|kms_.+"})'
        good, said = spoilt(always, [name], tmp_path)
        assert not good
        assert name in said

    @needs_promtool
    def test_a_case_of_each_notices_that_it_never_fires(self, tmp_path: Path) -> None:
        good, said = spoilt("vector(0) > 1", NAMES, tmp_path)
        assert not good
        assert [name for name in NAMES if name not in said] == []

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
    def test_each_says_what_happened_and_what_to_do(self, rule: dict[str, Any]) -> None:
        assert set(rule["annotations"]) == {"summary", "description", "action"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        summary = rule["annotations"]["summary"]
        assert len(summary) < 80
        assert not summary.endswith(".")
        for name in ("description", "action"):
            assert rule["annotations"][name].endswith((".", "?"))

    def test_the_readme_has_them_all(self) -> None:
        rows = re.findall(r"^\| `(Kms\w+)` \| (\w+) \|", README, re.MULTILINE)
        assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]

    @needs_promtool
    def test_the_configuration_takes_them_in(self) -> None:
        good, said = promtool("check", "config", CONFIG / "prometheus.yml")
        assert good, said
        assert f"{len(RULES)} rules found" in said
        config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
        assert config["rule_files"] == ["prometheus-alerts.yml"]
        jobs = {each["job_name"] for each in config["scrape_configs"]}
        assert jobs == set(re.findall(r'job="(\w+)"', str([rule["expr"] for rule in RULES])))


class TestDashboard:
    @needs_promtool
    def test_its_queries_are_promql(self, tmp_path: Path) -> None:
        rules = [{"record": f"x:{n}", "expr": it.expr} for n, it in enumerate(queries())]
        path = tmp_path / "rules.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        good, said = promtool("check", "rules", path)
        assert good, said
        assert f"{len(rules)} rules found" in said

    def test_variables_choose_datasource_job_and_instance(self) -> None:
        variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
        assert list(variables) == ["datasource", "job", "instance"]
        assert variables["datasource"]["type"] == "datasource"
        for name in ("job", "instance"):
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variables[name]["definition"])
            assert found is not None
            assert found[2] == name
            assert set(asked(filled_in(found[1]))) == {"kms_build_info"}
            assert variables[name]["query"]["query"] == variables[name]["definition"]

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
    def test_every_query_goes_by_them(self, panel: dict[str, Any]) -> None:
        assert panel["description"]
        source = {"type": "prometheus", "uid": "${datasource}"}
        assert panel["datasource"] == source
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"] == source
            for metric, labels in asked(filled_in(target["expr"])).items():
                assert {"job", "instance"} <= labels, metric
            selectors = target["expr"].count("{")
            assert target["expr"].count('job=~"$job", instance=~"$instance"') == selectors

    def test_panels_have_places_of_their_own(self) -> None:
        assert len({panel["id"] for panel in PANELS}) == len(PANELS)
        taken: set[tuple[int, int]] = set()
        for panel in PANELS:
            at = panel["gridPos"]
            cells = set(
                itertools.product(
                    range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
                )
            )
            assert at["x"] + at["w"] <= WIDTH
            assert not cells & taken, panel["title"]
            taken |= cells


def test_a_query_is_taken_apart() -> None:
    expr = 'sum by (a) (rate(x{b="1"}[5m])) / on (c) (y offset 5m) > 0 and time() - z < 9'
    assert asked(expr) == {"x": {"a", "b", "c"}, "y": {"c"}, "z": set()}
