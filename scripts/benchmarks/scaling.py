"""The case of several instances that share the partitions of one topic."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, closing

from benchmarks.results import Result, not_measured
from benchmarks.usage import Usage
from benchmarks.workbench import LONGEST_SECONDS, Workbench
from kms.store import Filter, Reader
from tests.broker.cluster import DEADLINE_SECONDS, now_ms, wait_for
from tests.broker.instance import Instance

_PARTITIONS = 4
_INSTANCES = (1, 2, 4)
_LEAD_MS = 6_000
_LOOK_SECONDS = 0.2


def scale(bench: Workbench) -> list[Result]:
    """All due at the same moment on four partitions, fired by one, two and four instances."""
    results: list[Result] = []
    for instances in _INSTANCES:
        found = _fire(bench, bench.count(200_000), instances, results[0] if results else None)
        results.append(found)
        if found.figure is None:
            break
    return results


def _fire(bench: Workbench, count: int, instances: int, alone: Result | None) -> Result:
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic(_PARTITIONS)
    group = f"group-{uuid.uuid4().hex[:8]}"
    running = [bench.kms(topic, group=group).start() for _ in range(instances)]
    wait_for("the partitions to be shared out", lambda: _shared_out(running), DEADLINE_SECONDS)
    due_ms = (now_ms() + _LEAD_MS + count // 20) // 1000 * 1000
    bench.write(topic, (bench.record(target, due_ms) for _ in range(count)), count)
    _wait_until_folded(running, count)
    arrivals = bench.arrivals(target)
    if now_ms() > due_ms:
        return not_measured("scale", "kms had not taken them all in when they became due")
    time.sleep((due_ms - now_ms()) / 1000)
    with ExitStack() as exits:
        usages = [exits.enter_context(Usage(each.process.pid)) for each in running]
        bench.stage(f"firing with {instances}", count)
        bench.wait_for_count(arrivals, count)
        cpu = sum(usage.cpu for usage in usages)
        peak_mb = max(usage.peak_mb for usage in usages)
    for each in running:
        each.stop()
    return Result(
        "scale",
        f"{instances} on {_PARTITIONS} partitions",
        "schedules/s",
        count / (arrivals.last_ms - due_ms) * 1000,
        "",
        alone.figure if alone else None,
        "what one instance does" if alone else "",
        peak_mb,
        cpu / count * 1e6,
        note="all on one machine: the CPU each is of all instances, up to the last arrival, "
        "and the peak of the largest",
    )


def _shared_out(instances: Sequence[Instance]) -> bool:
    """Whether every partition may fire, and every instance has as many as the others."""
    time.sleep(_LOOK_SECONDS)  # a look costs the instances time
    if not all("metrics at" in each.log for each in instances):
        return False
    shares = [each.metrics()["kms_firing_partitions"] for each in instances]
    return shares == [_PARTITIONS / len(instances)] * len(instances)


def _wait_until_folded(instances: Sequence[Instance], count: int) -> None:
    with ExitStack() as exits:
        readers = [exits.enter_context(closing(Reader(each.cache))) for each in instances]

        def folded() -> bool:
            time.sleep(_LOOK_SECONDS)
            return sum(reader.count(Filter()) for reader in readers) >= count

        wait_for("the schedules in the caches", folded, LONGEST_SECONDS)
