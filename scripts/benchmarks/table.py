"""The table of results, and the machine they are of."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import confluent_kafka as ck
from rich.table import Table

from benchmarks.results import Result

_LIBRARIES = ("confluent-kafka", "fastavro", "APScheduler")


def number(value: float | None) -> str:
    """Three digits that count, or none after the point where there are as many before it."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def result_table(results: Iterable[Result]) -> Table:
    """One row a result; a note goes below its row."""
    table = Table(title="kms, and the bare loop beside it", title_justify="left")
    for name in ("case", "what"):
        table.add_column(name)
    for name in ("kms", "limit", "kms / limit"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    table.add_column("goal")
    for name in ("peak MB", "CPU us each", "limit's"):
        table.add_column(name, justify="right")
    for found in results:
        ratio = "-" if found.ratio is None else f"{found.ratio:.2f}"
        table.add_row(
            found.case,
            found.what,
            number(found.figure),
            number(found.limit),
            ratio,
            found.unit,
            found.goal,
            number(found.peak_mb),
            number(found.cpu_us),
            number(found.limit_cpu_us),
        )
    return table


def notes(results: Iterable[Result]) -> list[str]:
    """What is to be known of the figures, each said once."""
    found = {f"{each.case}: {each.note}": None for each in results if each.note}
    limits = {f"{each.case}: limit is {each.limit_of}": None for each in results if each.limit_of}
    return [*found, *limits]


def machine() -> dict[str, str]:
    """Where, when and of what the figures are."""
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return {
        "cpu": f"{os.cpu_count()} x {cpus[0] if cpus else platform.machine()}",
        "memory": f"{memory_kb / 1e6:.0f} GB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "librdkafka": ck.libversion()[0],
        **{name: version(name) for name in _LIBRARIES},
        "commit": commit.stdout.strip(),
        "load": " ".join(f"{each:.1f}" for each in os.getloadavg()),
    }
