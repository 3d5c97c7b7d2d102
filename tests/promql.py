"""What queries ask for: those of the alerts and of the dashboard, taken apart."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import yaml

CONFIG = Path(__file__).parents[1] / "config"
GROUPS: list[dict[str, Any]] = yaml.safe_load((CONFIG / "prometheus-alerts.yml").read_text())[
    "groups"
]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((CONFIG / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
# What Grafana puts in their place; for a minute, rates have their samples.
VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}


class Query(NamedTuple):
    """An expression, the labels that its text or legend shows, and where it is."""

    expr: str
    shown: frozenset[str]
    where: str


def queries() -> list[Query]:
    """Every query of the alerts and of the dashboard."""
    return [
        *(
            Query(rule["expr"], _shown(r"\$labels\.(\w+)", rule["annotations"]), rule["alert"])
            for rule in RULES
        ),
        *panel_queries(),
    ]


def panel_queries() -> list[Query]:
    """The dashboard's, with its variables filled in."""
    return [
        Query(filled_in(target["expr"]), _shown(r"{{(\w+)}}", target["legendFormat"]), where)
        for panel in PANELS
        for target in panel["targets"]
        for where in [f"{panel['title']}, {target['refId']}"]
    ]


def filled_in(text: str) -> str:
    """With the dashboard's variables replaced; there must be no others."""
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def asked(expr: str) -> dict[str, set[str]]:
    """Every metric that the query reads, with the labels that it goes by."""
    found: dict[str, set[str]] = defaultdict(set)
    _collect(promql.parse(expr), frozenset(), found)
    return dict(found)


def _collect(node: Any, labels: frozenset[str], found: dict[str, set[str]]) -> None:
    match node:
        case promql.VectorSelector():
            assert node.name, "names a metric"
            found[node.name] |= labels | {it.name for it in node.matchers.matchers}
        case promql.MatrixSelector():
            _collect(node.vector_selector, labels, found)
        case promql.AggregateExpr():
            by = node.modifier.labels if node.modifier else ()
            _collect(node.expr, labels | set(by), found)
        case promql.BinaryExpr():
            matching = node.modifier and node.modifier.matching
            on = labels | set(matching.labels if matching else ())
            _collect(node.lhs, on, found)
            _collect(node.rhs, on, found)
        case promql.Call():
            for argument in node.args:
                _collect(argument, labels, found)
        case promql.ParenExpr():
            _collect(node.expr, labels, found)
        case promql.NumberLiteral() | promql.StringLiteral():
            pass
        case _:
            raise AssertionError(f"{type(node).__name__} is not taken apart yet")


def _shown(pattern: str, texts: object) -> frozenset[str]:
    return frozenset(re.findall(pattern, str(texts)))
