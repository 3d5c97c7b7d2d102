"""The cases by name, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.firing import fire, lateness, sustained
from benchmarks.loading import churn, disk, ingest, rebuild
from benchmarks.recurring import recurring
from benchmarks.results import Result
from benchmarks.rolling import rolling
from benchmarks.scaling import scale
from benchmarks.starting import memory, restart
from benchmarks.workbench import Workbench

CASES: Mapping[str, Callable[[Workbench], list[Result]]] = {
    "fire": fire,
    "recurring": recurring,
    "ingest": ingest,
    "rebuild": rebuild,
    "restart": restart,
    "memory": memory,
    "lateness": lateness,
    "sustained": sustained,
    "churn": churn,
    "disk": disk,
    "scale": scale,
    "rolling": rolling,
}
