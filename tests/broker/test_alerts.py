"""What a real Prometheus makes of a running instance, our alerts and the dashboard's queries."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance
from tests.broker.prometheus import Prometheus, Sample, prometheus
from tests.promql import RULES, Query, asked, panel_queries, queries

MakeInstance = Callable[..., Instance]
HOUR_MS = 3_600_000
ADDED = {"job", "instance"}  # by Prometheus itself

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus; it is Debian's package of that name"
)


class Scene(NamedTuple):
    """An instance that was through a lot, and the Prometheus that watched it."""

    kms: Instance
    prometheus: Prometheus

    def metrics(self) -> dict[str, set[str]]:
        """What is scraped: each sample's name with its labels."""
        names: dict[str, set[str]] = {"up": set()}
        for sample in self.kms.metrics():
            name, _, labels = sample.partition("{")
            found = {each.partition("=")[0] for each in labels.rstrip("}").split(",") if each}
            names.setdefault(name, set()).update(found)
        return names


@pytest.fixture
def scene(cluster: Cluster, instance: MakeInstance, tmp_path: Path) -> Iterator[Scene]:
    """Fired, failed, pending, held, cancelled, rejected and buried ones, and a damaged cache."""
    topic, target, dead = cluster.schedule_topic(), cluster.topic(), cluster.topic()
    cache = tmp_path / "cache.sqlite"
    cache.write_bytes(b"no cache of kms" * 100)
    kms = instance(
        [topic], cache=cache, KMS_DEAD_LETTER_TOPIC=dead, KMS_RETRY_PAUSE="200ms"
    ).start()
    kms.caught_up()
    with prometheus(tmp_path, kms.url) as watching:
        wait_for("scrapes", lambda: watching.ask("count_over_time(kms_caught_up[1m]) > 2") or None)
        cluster.schedule(topic, b"later", Schedule(now_ms() + HOUR_MS, target, b"", b"v"))
        cluster.schedule(topic, b"never", Schedule(now_ms() + HOUR_MS, target, b"", b"v"))
        cluster.write(topic, b"never", None)
        cluster.write(topic, b"rubbish", b"no schedule")
        missing = f"missing-{target}"
        cluster.schedule(topic, b"failing", Schedule(0, missing, b"", b"v"))
        for number in range(20):
            cluster.schedule(topic, b"%d" % number, Schedule(now_ms(), target, b"", b"v"))
        paused = cluster.topic()
        commands = Kms(cluster.bootstrap, cache)
        commands.environment["CONSUMER_GROUP_ID"] = kms.group
        commands.ok("pause", paused)
        kms.wait_for_log("Paused:")
        cluster.schedule(topic, b"held", Schedule(0, paused, b"", b"v"))
        cluster.flush()
        cluster.arrived(target, 20)
        cluster.arrived(dead, 1)
        yield Scene(kms, watching)


def test_the_dashboard_and_the_alerts_see_what_there_is(scene: Scene) -> None:
    for query in panel_queries():
        check_query(scene.prometheus, query)
    exposed = scene.metrics()
    for query in queries():
        for metric, labels in asked(query.expr).items():
            assert metric in exposed, query.where
            assert labels <= exposed[metric] | ADDED, query.where
    check_alerts(scene.prometheus)
    check_values(scene.prometheus)


def check_query(prometheus: Prometheus, query: Query) -> None:
    """It finds something, with all labels that its legend shows."""
    found = wait_for(query.where, lambda: prometheus.ask(query.expr) or None)
    for labels, _ in found:
        assert query.shown <= labels.keys(), query.where


def check_alerts(prometheus: Prometheus) -> None:
    """Those fire that say what was done to it, and no others; each could be evaluated."""

    def active() -> dict[str, str]:
        states = {rule["name"]: rule["state"] for rule in prometheus.rules()}
        return {name: state for name, state in states.items() if state != "inactive"}

    expected = {
        "KmsDeadLetters": "firing",
        "KmsCacheRebuilt": "firing",
        "KmsFailedStay": "pending",
        "KmsPausedForLong": "pending",
    }
    wait_for("alerts", lambda: active().items() >= expected.items())
    assert "firing" not in {state for name, state in active().items() if name not in expected}
    rules = {rule["name"]: rule for rule in prometheus.rules()}
    assert set(rules) == {rule["alert"] for rule in RULES}
    assert {rule["health"] for rule in rules.values()} == {"ok"}
    texts = {
        name: alert["annotations"]["summary"]
        for name, rule in rules.items()
        for alert in rule["alerts"]
    }
    assert texts["KmsDeadLetters"].endswith("were given up: undecodable")
    assert texts["KmsCacheRebuilt"].endswith("had to read its topics anew: file-unusable")


def check_values(prometheus: Prometheus) -> None:
    for query, value in {
        "kms_group_member": 1,
        "kms_overdue_seconds": 0,
        "kms_schedules_failed": 1,
        "sum(kms_schedules_pending)": 3,
        "sum(kms_schedules_held)": 1,
        'kms_cache_rebuilds_total{reason="file-unusable"}': 1,
        "sum(kms_cache_rebuilds_total)": 1,
        "kms_rebalances_total": 1,
    }.items():
        ask = partial(prometheus.ask, f"{query} == {value}")
        wait_for(f"{query} == {value}", partial(_some, ask))


def _some(ask: Callable[[], list[Sample]]) -> list[Sample] | None:
    return ask() or None
