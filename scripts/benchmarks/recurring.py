"""The case of what recurs: each firing writes its schedule again, in the same transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.results import Result, not_measured
from benchmarks.usage import Usage
from benchmarks.workbench import Workbench
from kms.schedule import Header
from tests.broker.cluster import now_ms, wait_for

_COUNT = 20_000
_EVERY: Sequence[Header] = (("kms-every", b"1h"),)  # nothing comes twice while it is measured
_LEAD_MS = 4_000
_READY_MS = 500


class _Run(NamedTuple):
    rate: float
    cpu_us: float
    peak_mb: float
    curve: list[tuple[float, float]]


def recurring(bench: Workbench) -> list[Result]:
    """All with kms-every and due at the same moment, beside as many that come once."""
    count = bench.count(_COUNT)
    plain, run = _fired(bench, count, ()), _fired(bench, count, _EVERY)
    if plain is None or run is None:
        return [not_measured("recurring", "kms had not taken them all in when they became due")]
    return [
        Result(
            "recurring",
            f"{count:,} with kms-every due at once",
            "schedules/s",
            run.rate,
            "",
            plain.rate,
            "kms itself with as many that come once",
            run.peak_mb,
            run.cpu_us,
            plain.cpu_us,
            points={"recurring": run.curve, "once": plain.curve},
        )
    ]


def _fired(bench: Workbench, count: int, headers: Sequence[Header]) -> _Run | None:
    """From when they are due until the last has arrived; None if they were due too soon."""
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    kms = bench.kms(topic).start().caught_up()
    due_ms = (now_ms() + _LEAD_MS + count // 10) // 1000 * 1000
    bench.write(topic, (bench.record(target, due_ms) for _ in range(count)), count, headers)
    wait_for(
        "the schedules", lambda: kms.metrics()["kms_caught_up"] and _pending(kms.metrics()) == count
    )
    arrivals = bench.arrivals(target)
    if now_ms() > due_ms - _READY_MS:
        return None
    time.sleep((due_ms - now_ms()) / 1000)
    with Usage(kms.process.pid) as usage:
        bench.stage("firing", count)
        bench.wait_for_count(arrivals, count, kms)
        seconds = (arrivals.last_ms - due_ms) / 1000
        run = _Run(count / seconds, usage.cpu / count * 1e6, usage.peak_mb, arrivals.curve(due_ms))
    kms.stop()
    return run


def _pending(found: dict[str, float]) -> float:
    return sum(value for name, value in found.items() if name.startswith("kms_schedules_pending"))
