"""Cases that take schedules in: while running, without a cache, and under the same ids again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bare_process import BareLoop
from benchmarks.results import Result
from benchmarks.usage import Usage, cpu_seconds, epoch_ms
from benchmarks.workbench import DAY_MS, Record, Workbench
from tests.broker.cluster import now_ms

_INGEST_LIMIT = "consume, decode, SQLite"


class _Load(NamedTuple):
    """How long it took until the overdue schedule behind the others had arrived, and what."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    file_bytes: int
    log_bytes: int  # the write-ahead log, while running


def ingest(bench: Workbench) -> list[Result]:
    """New schedules that a running service takes in."""
    count = bench.count(1_000_000)
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    load = _taken_in(bench, topic, target, bench.far_future(target, count), count)
    return [_rate("ingest", f"{count:,} new ones", ">= 90,000; >= 0.8", bench, topic, count, load)]


def churn(bench: Workbench) -> list[Result]:
    """Updates of few ids that a running service takes in."""
    count, id_count = bench.count(1_000_000), bench.count(10_000, 1_000_000)
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    live = list(bench.far_future(target, id_count))
    updates = bench.updates(bench.far_future(target, count), [record.id for record in live])
    load = _taken_in(bench, topic, target, updates, count)
    live_bytes = sum(len(record.id) + len(record.value) for record in live)
    return [
        _rate("churn", f"{count:,} updates", "as ingest", bench, topic, count, load),
        Result(
            "churn",
            f"the file with {id_count:,} ids",
            "MB",
            load.file_bytes / 1e6,
            "<= 3 times",
            live_bytes / 1e6,
            "in the second line, the records that are live",
            note=f"beside it, while kms runs, {load.log_bytes / 1e6:.1f} MB of write-ahead log",
        ),
    ]


def rebuild(bench: Workbench) -> list[Result]:
    """A start without a cache."""
    count = bench.count(1_000_000)
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    bench.write(topic, bench.far_future(target, count), count)
    bench.write(topic, [bench.record(target, now_ms() - DAY_MS)], 1)
    arrivals = bench.arrivals(target)
    bench.stage("starting without a cache")
    started_ms = epoch_ms()
    kms = bench.kms(topic).start()
    with Usage(kms.process.pid) as usage:
        bench.wait_for_count(arrivals, 1, kms)
        cpu = cpu_seconds(kms.process.pid)
    kms.stop()
    started, path = epoch_ms(), bench.cache()
    bare = _bare(bench, topic, path, count)
    return [
        Result(
            "rebuild",
            f"{count:,} pending",
            "s",
            (arrivals.last_ms - started_ms) / 1000,
            "<= 10",
            (bare["ended_ms"] - started) / 1000,
            f"{_INGEST_LIMIT}, from the start of a process",
            usage.peak_mb,
            cpu / count * 1e6,
            bare["cpu_seconds"] / count * 1e6,
        )
    ]


def disk(bench: Workbench) -> list[Result]:
    """What a pending schedule takes in the cache."""
    count = bench.count(200_000)
    target, topic = bench.cluster.topic(), bench.cluster.schedule_topic()
    records = list(bench.far_future(target, count))
    bench.write(topic, records, count)
    bench.stage("loading")
    kms = bench.kms(topic).start().caught_up()
    kms.stop()
    return [
        Result(
            "disk",
            f"each of {count:,} pending",
            "bytes",
            sum(_file_bytes(kms.cache)) / count,
            "<= 2 times",
            sum(len(record.id) + len(record.value) for record in records) / count,
            "the record's own key and value",
            note="the file after kms has ended",
        )
    ]


def _taken_in(
    bench: Workbench, topic: str, target: str, records: Iterable[Record], count: int
) -> _Load:
    """All of them can be read at the same moment; a due one behind them marks the end."""
    kms = bench.kms(topic).start().caught_up()
    arrivals = bench.arrivals(target)

    def with_the_last() -> Iterable[Record]:
        yield from records
        yield bench.record(target, now_ms() - DAY_MS)

    with Usage(kms.process.pid) as usage:
        with bench.write_hidden(topic, with_the_last(), count):
            bench.stage("taking them in")
            cpu_before, started_ms = usage.cpu, epoch_ms()
        bench.wait_for_count(arrivals, 1, kms)
        load = _Load(
            (arrivals.last_ms - started_ms) / 1000,
            usage.cpu - cpu_before,
            usage.peak_mb,
            *_file_bytes(kms.cache),
        )
    kms.stop()
    return load


def _rate(
    case: str, what: str, goal: str, bench: Workbench, topic: str, count: int, load: _Load
) -> Result:
    bare = _bare(bench, topic, bench.cache(), count)
    return Result(
        case,
        what,
        "records/s",
        count / load.seconds,
        goal,
        count / bare["seconds"],
        _INGEST_LIMIT,
        load.peak_mb,
        load.cpu_seconds / count * 1e6,
        bare["cpu_seconds"] / count * 1e6,
        "written in one transaction, so that all can be read at the same moment",
    )


def _bare(bench: Workbench, topic: str, path: Path, count: int) -> dict[str, Any]:
    """All of them, and the one behind that is due."""
    bench.stage("the same with a bare loop")
    with BareLoop("ingest", bench.cluster.bootstrap, path, topic=topic, count=count + 1) as loop:
        return loop.answer() | {"ended_ms": epoch_ms()}


def _file_bytes(cache: Path) -> tuple[int, int]:
    """The size of a SQLite file, and of the write-ahead log beside it."""
    log = cache.with_name(cache.name + "-wal")
    return cache.stat().st_size, log.stat().st_size if log.exists() else 0
