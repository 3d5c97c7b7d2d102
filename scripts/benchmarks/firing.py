"""Cases that fire: all at once, spread thin, and steadily while more comes in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

from benchmarks.arrivals import Arrivals
from benchmarks.bare_process import BareLoop
from benchmarks.results import Result, not_measured, percentile
from benchmarks.usage import Usage, epoch_ms
from benchmarks.workbench import LONGEST_SECONDS, Record, Workbench
from kms.store import Filter, Reader
from tests.broker.cluster import now_ms, wait_for
from tests.broker.instance import Instance

_LEAD_MS = 4_000  # before the first is due: for a start, and for what is late in coming up
_READY_MS = 500  # kms must have it all this long before it is due

_LATENESS_RATE = 200
_SUSTAINED_RATE = 5_000
_SUSTAINED_AHEAD_MS = 10_000
_TICK_SECONDS = 0.01


class _Run(NamedTuple):
    arrivals: Arrivals
    start_ms: float  # when firing could begin
    cpu_seconds: float
    peak_mb: float


class _Lateness(NamedTuple):
    """In ms, in order of due time; ``early`` counts what was appended before it was due."""

    values: list[float]
    early: int


def fire(bench: Workbench) -> list[Result]:
    """All due at the same moment, until the last has arrived."""
    count = bench.count(200_000)
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    kms = bench.kms(topic).start().caught_up()
    due_ms = (now_ms() + _LEAD_MS + count // 20) // 1000 * 1000
    bench.write(topic, (bench.record(target, due_ms) for _ in range(count)), count)
    _wait_until_folded(kms, count)
    arrivals = bench.arrivals(target)
    if now_ms() > due_ms - _READY_MS:
        return [not_measured("fire", "kms had not taken them all in when they became due")]
    time.sleep((due_ms - now_ms()) / 1000)
    with Usage(kms.process.pid) as usage:
        bench.stage("firing", count)
        bench.wait_for_count(arrivals, count, kms)
        _wait_until_empty(kms)
        folded_seconds = (epoch_ms() - due_ms) / 1000
        run = _Run(arrivals, due_ms, usage.cpu, usage.peak_mb)
    kms.stop()
    bare = _bare(bench, topic, count)
    rates = [count / (each.arrivals.last_ms - each.start_ms) * 1000 for each in (run, bare)]
    return [
        Result(
            "fire",
            f"{count:,} due at once",
            "schedules/s",
            rates[0],
            ">= 60,000; >= 0.7",
            rates[1],
            "SQLite read, decode, target and tombstone in transactions",
            run.peak_mb,
            run.cpu_seconds / count * 1e6,
            bare.cpu_seconds / count * 1e6,
            f"all tombstones folded after {folded_seconds:.1f} s; the CPU is up to then",
            points={
                "kms": arrivals.curve(run.start_ms),
                "bare loop": bare.arrivals.curve(bare.start_ms),
            },
        )
    ]


def lateness(bench: Workbench) -> list[Result]:
    """200 a second, written long before."""
    count = bench.count(60 * _LATENESS_RATE)
    length_ms = max(count * 1000 // _LATENESS_RATE, 1)
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    kms = bench.kms(topic).start().caught_up()
    arrivals = bench.arrivals(target, keep_keys=True)
    start_ms = now_ms() + _LEAD_MS
    records = list(bench.spread(target, count, start_ms, length_ms))
    bench.write(topic, records, count)
    _wait_until_folded(kms, count)
    if now_ms() > start_ms:
        return [not_measured("lateness", "kms had not taken them all in when they became due")]
    with Usage(kms.process.pid) as usage:
        bench.stage(f"firing {_LATENESS_RATE} a second", count)
        bench.wait_for_count(arrivals, count, kms)
        run = _Run(arrivals, start_ms, usage.cpu, usage.peak_mb)
    kms.stop()
    bare = _bare(bench, topic, count, start_ms)
    return _late("lateness", "p50 <= 4, p99 <= 12", records, run, bare)


def sustained(bench: Workbench) -> list[Result]:
    """5,000 a second, each written 10 s before it is due."""
    count = bench.count(120 * _SUSTAINED_RATE)
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    kms = bench.kms(topic).start().caught_up()
    arrivals = bench.arrivals(target, keep_keys=True)
    records: list[Record] = []
    with Usage(kms.process.pid) as usage:
        bench.stage(f"writing and firing {_SUSTAINED_RATE:,} a second", count)
        _write_steadily(bench, topic, target, count, records)
        bench.wait_for_count(arrivals, count, kms)
        run = _Run(arrivals, records[0].due_ms, usage.cpu, usage.peak_mb)
    kms.stop()
    bare = _bare(bench, topic, count, records[0].due_ms)
    return _late("sustained", "p99 <= 100, no growth", records, run, bare)


def _write_steadily(
    bench: Workbench, topic: str, target: str, count: int, records: list[Record]
) -> None:
    started = time.monotonic()
    while len(records) < count:
        wanted = min(int((time.monotonic() - started) * _SUSTAINED_RATE), count)
        due_ms = now_ms() + _SUSTAINED_AHEAD_MS
        for _ in range(wanted - len(records)):
            record = bench.record(target, due_ms)
            records.append(record)
            bench.cluster.write(topic, record.id, record.value)
        bench.done(len(records))
        time.sleep(_TICK_SECONDS)
    bench.cluster.flush()


def _bare(bench: Workbench, topic: str, count: int, due_ms: int | None = None) -> _Run:
    """The same records by the bare loop: at once, or spread as they were from ``due_ms`` on."""
    bootstrap, path = bench.cluster.bootstrap, bench.cache()
    target, tombstones = bench.cluster.topic(), bench.cluster.schedule_topic()
    bench.stage("the same with a bare loop", count)
    with BareLoop("ingest", bootstrap, path, topic=topic, count=count) as loop:
        loop.answer()
    arrivals = bench.arrivals(target, keep_keys=due_ms is not None)
    order: dict[str, Any] = {"target": target, "tombstones": tombstones, "count": count}
    with BareLoop("fire", bootstrap, path, **order) as loop:
        before = loop.answer()["cpu_seconds"]
        shift_ms = 0 if due_ms is None else now_ms() + _LEAD_MS - due_ms
        loop.tell({"shift_ms": shift_ms})
        found = loop.answer()
        bench.wait_for_count(arrivals, count)
    start_ms = found["started_ms"] if due_ms is None else due_ms + shift_ms
    return _Run(arrivals, start_ms, found["cpu_seconds"] - before, found["peak_mb"])


def _late(case: str, goal: str, records: list[Record], run: _Run, bare: _Run) -> list[Result]:
    due_ms = {record.id: record.due_ms for record in records}
    first_ms = run.start_ms
    found = _lateness(run, due_ms)
    limit = _lateness(bare, {i: at + int(bare.start_ms - first_ms) for i, at in due_ms.items()})
    quarter = max(len(found.values) // 4, 1)
    first, last = (
        percentile(part, 50) for part in (found.values[:quarter], found.values[-quarter:])
    )
    note = f"{found.early} early; p50 of the first quarter {first:.1f} ms, of the last {last:.1f}"
    return [
        Result(
            case,
            f"p{percent} of {len(records):,}",
            "ms",
            percentile(found.values, percent),
            goal,
            percentile(limit.values, percent),
            "a loop that sleeps until the next is due, with transactions",
            run.peak_mb,
            run.cpu_seconds / len(records) * 1e6,
            bare.cpu_seconds / len(records) * 1e6,
            note,
            {"early": found.early, "most": max(found.values), "most of limit": max(limit.values)},
        )
        for percent in (50, 99)
    ]


def _lateness(run: _Run, due_ms: Mapping[bytes, int]) -> _Lateness:
    found, early = [], 0
    for arrived_ms, appended_ms, keys in run.arrivals.batches:
        for key, at_ms in zip(keys, appended_ms, strict=True):
            found.append((due_ms[key], arrived_ms - due_ms[key]))
            early += at_ms < due_ms[key]
    return _Lateness([late for _, late in sorted(found)], early)


def _wait_until_folded(kms: Instance, offset: int) -> None:
    with closing(Reader(kms.cache)) as reader:
        wait_for(
            "the schedules in the cache",
            lambda: any(it.next_offset >= offset for it, _ in reader.checkpoints()),
            LONGEST_SECONDS,
        )


def _wait_until_empty(kms: Instance) -> None:
    with closing(Reader(kms.cache)) as reader:
        # Counting all that is left, this often, would take the time that is measured.
        wait_for(
            "the last tombstone", lambda: not list(reader.pending(Filter(), 1)), LONGEST_SECONDS
        )
