"""scripts/bench from end to end, with few schedules; what it measures then means nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.broker.cluster import Cluster
from tests.broker.instance import ROOT


def test_fire(cluster: Cluster, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command: list[str | Path] = [ROOT / "scripts/bench", "fire", "--n", "500"]
    done = subprocess.run(
        [*command, "--json", figures, "--pictures", tmp_path],
        env={**os.environ, "KAFKA_BROKERS": cluster.bootstrap},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(figures.read_text())["results"]
    assert found["case"] == "fire"
    for name in ("figure", "limit", "ratio", "peak_mb", "cpu_us", "limit_cpu_us"):
        assert found[name] > 0, name
    for curve in found["points"].values():
        assert curve[-1][1] == 500
    assert (tmp_path / "fire.png").exists()
    assert "500 due at once" in done.stdout
