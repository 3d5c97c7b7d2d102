"""The scheduler's races and failures: nothing is handed out twice, no error is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kms.due import Due
from kms.errors import CacheError
from kms.schedule import Row
from kms.scheduler import CacheJobStore
from kms.store import CacheFile
from tests.scheduler_instance import DEADLINE_SECONDS, Instance, now_ms, wait_until

FAR_MS = 253_402_300_799_999  # the end of the year 9999


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with closing(CacheFile(tmp_path / "cache.sqlite")) as file, closing(Instance(file)) as instance:
        yield instance


def overtake(instance: Instance, schedule_id: bytes, offset: int) -> None:
    """A row that must be re-published, and is due much later."""
    rows = instance.parts[0]
    rows[schedule_id] = Row(offset, FAR_MS, b"v", republish=True)
    instance.commit(rows)


def remove(instance: Instance, schedule_id: bytes) -> None:
    """Its tombstone is folded."""
    del instance.parts[0][schedule_id]
    instance.commit(instance.parts[0])


def reopen(instance: Instance, schedule_id: bytes) -> None:
    """The partition goes, another instance fires the schedule, and it comes back."""
    number = instance.parts[0].number
    instance.claims.close([number])
    remove(instance, schedule_id)
    instance.claims.open(number)


def claimed(instance: Instance, found: list[Due]) -> list[bytes]:
    """The ids of those that may be fired."""
    valid = instance.claims.begin(found)
    instance.claims.end()
    return [due.id for due in valid]


def look(instance: Instance) -> list[Due]:
    """One look of the job store at what is due, in this thread."""
    store = CacheJobStore(instance.reader, instance.claims, instance.queue, instance.scheduler)
    store.start(instance.scheduler._scheduler, "default")
    return [due for job in store.get_due_jobs(datetime.now(UTC)) for due in job.batch]


def test_what_was_overtaken_is_handed_out_at_once_and_once(instance: Instance) -> None:
    instance.start()
    instance.sleeps()
    overtake(instance, b"a", 5)
    (found,) = instance.take(1)
    assert (found.id, found.offset, found.due_ms, found.republish) == (b"a", 5, FAR_MS, True)
    instance.put(now_ms(), first_offset=6)
    assert [it.id for it in instance.take(1)] == [b"6"]
    instance.sleeps()
    assert instance.queue.take(1, 0) == []


@pytest.mark.parametrize("happens", [remove, reopen])
def test_what_was_fired_while_it_was_read_is_not_handed_out_again(
    instance: Instance, happens: Callable[[Instance, bytes], None]
) -> None:
    instance.open()
    instance.put(5)
    assert claimed(instance, look(instance)) == [b"0"]
    # An earlier one makes it look at the fired one again, whose tombstone is folded meanwhile.
    instance.put(1, first_offset=1)
    instance.reader.after_due.append(lambda: happens(instance, b"0"))
    found = look(instance) + look(instance)
    assert claimed(instance, found) == [b"1"]


@pytest.mark.parametrize("happens", [remove, reopen])
def test_what_was_republished_while_it_was_read_is_not_handed_out_again(
    instance: Instance, happens: Callable[[Instance, bytes], None]
) -> None:
    instance.open()
    overtake(instance, b"a", 5)
    instance.put(1, first_offset=6)
    assert claimed(instance, look(instance)) == [b"6", b"a"]
    instance.put(1, first_offset=7)
    instance.reader.after_overtaken.append(lambda: happens(instance, b"a"))
    found = look(instance) + look(instance)
    assert b"a" not in claimed(instance, found)
    assert b"7" in claimed(instance, found)


def test_what_is_stored_while_it_was_reading_is_not_missed(instance: Instance) -> None:
    instance.start()
    instance.reader.after_due.append(lambda: instance.put(0, first_offset=1))
    instance.put(5)
    assert sorted(it.id for it in instance.take(2)) == [b"0", b"1"]


@pytest.mark.parametrize("method", ["due", "overtaken", "next_due_ms"])
def test_an_error_of_the_cache_is_raised_to_whoever_watches(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise CacheError("the disk is gone")

    instance.start()
    instance.sleeps()
    instance.scheduler.raise_for_error()
    monkeypatch.setattr(instance.reader, method, fail)
    instance.scheduler.wakeup()

    def ended() -> bool:
        instance.scheduler.raise_for_error()
        return False

    with pytest.raises(CacheError, match="the disk is gone"):
        wait_until(ended)


def test_it_ends_when_it_is_asked_to_and_says_nothing(instance: Instance) -> None:
    instance.start()
    instance.sleeps()
    instance.scheduler.stop()
    assert instance.scheduler.join(DEADLINE_SECONDS)
    instance.scheduler.raise_for_error()
    instance.scheduler.stop()
    instance.scheduler.wakeup()  # partitions are given up after it has ended


def test_it_ends_if_it_is_stopped_before_it_runs(instance: Instance) -> None:
    instance.scheduler.stop()  # a signal right after the start: the thread does not run yet
    instance.scheduler.start()
    assert instance.scheduler.join(DEADLINE_SECONDS)


def test_it_ends_if_it_is_stopped_while_it_starts(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = CacheJobStore.start

    def begin_and_stop(store: CacheJobStore, *arguments: object) -> None:
        begin(store, *arguments)
        instance.scheduler.stop()

    monkeypatch.setattr(CacheJobStore, "start", begin_and_stop)
    instance.scheduler.start()
    assert instance.scheduler.join(DEADLINE_SECONDS)
