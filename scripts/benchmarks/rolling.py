"""The case of a rolling restart: how late schedules become while instances are replaced."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from itertools import pairwise

from benchmarks.arrivals import Arrivals
from benchmarks.results import Result, not_measured, percentile
from benchmarks.workbench import Record, Workbench
from tests.broker.cluster import DEADLINE_SECONDS, now_ms, wait_for
from tests.broker.instance import Instance

_PARTITIONS = 4
_INSTANCES = 2
_RATE = 200
_LEAD_MS = 5_000
_QUIET_SECONDS = 3.0  # before the first restart, and after each
_AWAY_SECONDS = 5.0  # where a container has to be placed and started
_LATE_MS = 100


def rolling(bench: Workbench) -> list[Result]:
    """200 a second while two instances are ended with SIGTERM and started, one after the other."""
    return [
        _restarted(bench, static=static, away_seconds=away_seconds)
        for away_seconds in (0.0, _AWAY_SECONDS)
        for static in (False, True)
    ]


def _restarted(bench: Workbench, *, static: bool, away_seconds: float) -> Result:
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic(_PARTITIONS)
    what = f"{'with' if static else 'without'} KMS_INSTANCE_ID, away for {away_seconds:.0f} s"
    running = _started(bench, topic, static=static)
    arrivals = bench.arrivals(target, keep_keys=True)
    length_ms = 20_000 + int(2_000 * away_seconds) + int(4_000 * _QUIET_SECONDS)
    count = bench.count(length_ms * _RATE // 1000)
    start_ms = now_ms() + _LEAD_MS
    records = list(bench.spread(target, count, start_ms, length_ms))
    for number, record in enumerate(records):
        bench.cluster.write(topic, record.id, record.value, partition=number % _PARTITIONS)
    bench.cluster.flush()
    time.sleep(max(start_ms - now_ms(), 0) / 1000 + _QUIET_SECONDS)
    for number, each in enumerate(running):
        bench.stage(f"{what}: restarting {number + 1} of {_INSTANCES}")
        each.stop()
        time.sleep(away_seconds)
        each.start().caught_up(_PARTITIONS // _INSTANCES)
        time.sleep(_QUIET_SECONDS)
    if now_ms() > start_ms + length_ms:
        return not_measured("rolling", f"{what}: the restarts took longer than the schedules last")
    bench.wait_for_count(arrivals, count)
    for each in running:
        each.stop()
    return _result(what, records, arrivals)


def _started(bench: Workbench, topic: str, *, static: bool) -> list[Instance]:
    group = f"group-{uuid.uuid4().hex[:8]}"
    names = [f"{group}-{number}" if static else None for number in range(_INSTANCES)]
    running = [bench.kms(topic, group=group, identity=name).start() for name in names]

    def shared_out() -> bool:
        share = _PARTITIONS / _INSTANCES
        if not all("metrics at" in each.log for each in running):
            return False
        found = [each.metrics() for each in running]
        return all(it["kms_assigned_partitions"] == share and it["kms_caught_up"] for it in found)

    wait_for("the partitions to be shared out", shared_out, DEADLINE_SECONDS)
    return running


def _result(what: str, records: list[Record], arrivals: Arrivals) -> Result:
    asked = {record.id: (record.due_ms, at % _PARTITIONS) for at, record in enumerate(records)}
    late: list[float] = []
    seen: dict[int, list[float]] = defaultdict(list)
    for batch in arrivals.batches:
        for key in batch.keys:
            due_ms, partition = asked[key]
            late.append(batch.arrived_ms - due_ms)
            seen[partition].append(batch.arrived_ms)
    silence = max(
        after - before for moments in seen.values() for before, after in pairwise(moments)
    )
    over = sum(each > _LATE_MS for each in late)
    twice = len(late) - len(asked)
    return Result(
        "rolling",
        what,
        "ms",
        max(late),
        note=f"the most that one of {len(records):,} was late; p99 {percentile(late, 99):.0f} ms, "
        f"{over:,} later than {_LATE_MS} ms; the longest silence of a partition {silence:.0f} ms; "
        f"twice {twice}",
        details={"p99": percentile(late, 99), "late": over, "silence": silence, "twice": twice},
    )
