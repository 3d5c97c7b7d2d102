"""The scheduler on a real cache: on time, in order, and nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apscheduler.jobstores.base import JobLookupError

from kms import scheduler as scheduler_module
from kms.due import Due
from kms.schedule import Row
from kms.scheduler import CacheJobStore
from kms.store import CacheFile
from tests.scheduler_instance import Instance, now_ms, wait_until

FAR_MS = 253_402_300_799_999  # the end of the year 9999


@pytest.fixture
def file(tmp_path: Path) -> Iterator[CacheFile]:
    with closing(CacheFile(tmp_path / "cache.sqlite")) as file:
        yield file


@pytest.fixture
def instance(file: CacheFile) -> Iterator[Instance]:
    with closing(Instance(file)) as instance:
        yield instance


def test_nothing_is_early_and_nothing_is_missed(instance: Instance) -> None:
    start_ms = now_ms()
    dues = [start_ms + 17 * number % 400 for number in range(-20, 200)]
    instance.put(*dues)
    instance.start()
    found: list[Due] = []
    late_ms: list[int] = []
    while len(found) < len(dues):
        found += instance.take(1)
        late_ms.append(now_ms() - found[-1].due_ms)
    assert min(late_ms) >= 0
    assert min(late_ms) < 20  # a busy machine may be late sometimes
    assert sorted(it.offset for it in found) == list(range(len(dues)))
    # Later batches hold what became due later.
    assert [it.due_ms for it in found] == sorted(dues)
    assert found[-1].due_ms > start_ms + 300


@pytest.mark.parametrize("batch", [1, 3, 5_000])
def test_what_is_overdue_fires_oldest_first(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(scheduler_module, "BATCH", batch)
    dues = [number * 7 % 10 for number in range(20)]
    instance.put(*dues)
    instance.put(*dues, partition=1)
    instance.start()
    found = instance.take(40)
    for part in instance.parts:
        own = [(it.due_ms, it.offset) for it in found if it.number == part.number]
        assert own == sorted((due, offset) for offset, due in enumerate(dues))
    if batch == 5_000:
        assert [it.due_ms for it in found] == sorted(dues * 2)


@pytest.mark.parametrize("partition", [0, 1])
def test_it_wakes_up_for_the_soonest_of_all_partitions(instance: Instance, partition: int) -> None:
    instance.put(FAR_MS, now_ms() + 100, partition=partition)
    instance.put(FAR_MS, partition=1 - partition)
    instance.start()
    assert [it.number for it in instance.take(1)] == [instance.parts[partition].number]


def test_what_is_stored_or_given_back_wakes_it_up(instance: Instance) -> None:
    instance.start()
    instance.sleeps()
    instance.put(1)
    (first,) = instance.take(1)
    instance.sleeps()
    instance.put(0, first_offset=1)  # before what it looked at
    (second,) = instance.take(1)
    assert (first.id, second.id) == (b"0", b"1")
    instance.sleeps()
    assert instance.claims.begin([first, second]) == [first, second]
    instance.claims.give_back([first, second])
    again = instance.take(2)
    assert [it.id for it in again] == [b"1", b"0"]
    assert instance.claims.begin([first, second, *again]) == again


def test_a_partition_fires_while_it_is_open(instance: Instance) -> None:
    instance.put(1, 2)
    instance.put(3, partition=1)
    instance.scheduler.start()
    closed, opened = (part.number for part in instance.parts)
    instance.claims.open(opened)
    assert [it.number for it in instance.take(1)] == [opened]
    instance.sleeps()
    instance.claims.open(closed)  # wakes it up: a quiet topic's overdue schedules can't wait
    assert [it.due_ms for it in instance.take(2)] == [1, 2]
    instance.claims.close([closed])
    instance.put(0, first_offset=9)
    instance.put(9, partition=1, first_offset=9)
    assert [it.number for it in instance.take(1)] == [opened]
    assert instance.queue.take(1, 0) == []


def test_a_full_queue_holds_it_back_and_loses_nothing(
    file: CacheFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "BATCH", 5)
    with closing(Instance(file, room=6)) as instance:
        instance.put(*range(40))
        instance.start()
        found: list[Due] = []
        while len(found) < 40:
            wait_until(lambda: instance.queue.full() or instance.claims.count() == 40)
            assert instance.claims.count() - len(found) <= 6 + 5
            found += instance.take(1)
        assert [it.offset for it in found] == list(range(40))
        instance.put(*range(40), first_offset=100)
        wait_until(instance.queue.full)  # and it can be stopped like this


def test_jobs_are_listed_until_their_rows_are_gone(instance: Instance) -> None:
    instance.put(5, FAR_MS, 3)
    instance.start()
    assert [it.id for it in instance.take(2)] == [b"2", b"0"]
    instance.sleeps()
    listed = [(job.id, job.next_run_time) for job in instance.scheduler.jobs()]
    epoch = datetime.fromtimestamp(0, UTC)
    moments = [epoch + timedelta(milliseconds=ms) for ms in (3, 5, FAR_MS)]
    assert listed == list(zip(("2", "0", "1"), moments, strict=True))
    apscheduler = instance.scheduler._scheduler
    for schedule_id, moment in listed:
        assert apscheduler.get_job(schedule_id).next_run_time == moment
    assert apscheduler.get_job("none") is None
    del instance.parts[0][b"2"]
    instance.commit(instance.parts[0])
    assert [job.id for job in instance.scheduler.jobs()] == ["0", "1"]
    assert apscheduler.get_job("2") is None


def test_every_listed_job_can_be_looked_up(instance: Instance) -> None:
    instance.parts[0][b"\xff"] = Row(0, FAR_MS, b"v")
    instance.commit(instance.parts[0])
    instance.start()
    instance.sleeps()
    (job,) = instance.scheduler.jobs()
    assert instance.scheduler._scheduler.get_job(job.id) is not None


def test_an_id_of_two_topics_is_no_job(instance: Instance) -> None:
    instance.parts.append(instance.partition("more-schedules", 0))
    instance.put(FAR_MS)
    instance.put(FAR_MS, partition=2)
    instance.start()
    instance.sleeps()
    assert instance.scheduler._scheduler.get_job("0") is None


def test_jobs_are_changed_through_the_topic_only(instance: Instance) -> None:
    store = CacheJobStore(instance.reader, instance.claims, instance.queue, instance.scheduler)
    with pytest.raises(NotImplementedError, match=r"topic"):
        store.add_job(None)
    with pytest.raises(NotImplementedError, match=r"topic"):
        store.remove_all_jobs()
    instance.put(FAR_MS)
    instance.start()
    instance.sleeps()
    (job,) = instance.scheduler.jobs()
    with pytest.raises(JobLookupError):
        store.update_job(job)


@pytest.mark.parametrize("due_ms", [0, -1, -62_135_596_800_001, -(2**63)])
def test_the_distant_past_fires_at_once(instance: Instance, due_ms: int) -> None:
    instance.put(FAR_MS, due_ms)
    instance.start()
    assert [it.due_ms for it in instance.take(1)] == [due_ms]
    instance.put(1, first_offset=2)
    assert [it.due_ms for it in instance.take(1)] == [1]
    assert len(instance.scheduler.jobs()) == 3


@pytest.mark.parametrize("due_ms", [FAR_MS, FAR_MS + 1, 2**63 - 1])
def test_the_distant_future_stays_and_no_wait_is_longer_than_five_seconds(
    instance: Instance, due_ms: int
) -> None:
    instance.put(due_ms)
    instance.start()
    instance.sleeps()
    store = CacheJobStore(instance.reader, instance.claims, instance.queue, instance.scheduler)
    wait = store.get_next_run_time() - datetime.now(UTC)
    assert timedelta(seconds=3) < wait <= timedelta(seconds=5)
    instance.put(1, first_offset=1)
    assert [it.due_ms for it in instance.take(1)] == [1]
    assert [job.id for job in instance.scheduler.jobs()] == ["1", "0"]
