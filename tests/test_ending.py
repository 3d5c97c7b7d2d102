"""When a run that is to end by itself ends, as its cache and the figures have it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kms.claims import Claims
from kms.due import Due
from kms.ending import Ending, OnceFired, Summary, Work
from kms.errors import CacheInUseError, TimedOutError
from kms.failures import Failure
from kms.figures import ConsumerFigures, ProducerFigures
from kms.gate import Gate
from kms.schedule import Row
from kms.settings import Settings
from kms.store import CacheFile, Reader, Writer
from kms.times import now_ms

HOUR_MS = 3_600_000


class Instance:
    """A caught-up instance with one partition, whose cache the tests write."""

    def __init__(self, path: Path) -> None:
        self.file = CacheFile(path)
        self.writer = Writer(self.file)
        self.number = self.writer.restart("schedules", 0, "id", "cluster", 0).number
        self.claims = Claims()
        self.claims.open(self.number)
        self.work = Work(
            Settings(schedule_topics=("schedules",)),
            ConsumerFigures(assigned_at=0.0, assigned=1, caught_up=1),
            ProducerFigures(),
            self.claims,
            Reader(path),
            Gate(),
        )

    def begun(self, ending: OnceFired) -> OnceFired:
        ending.begin(self.work)
        self.see(now_ms() + 1)
        return ending

    def see(self, seen_ms: int) -> None:
        """Know that the end was reached at this time."""
        self.writer.commit([], {}, {self.number: seen_ms})

    def put(self, name: bytes, row: Row | None) -> None:
        rows = self.writer.rows(self.number)
        if row is None:
            del rows[name]
        else:
            rows[name] = row
        self.writer.commit([rows], {}, {})

    def close(self) -> None:
        self.work.reader.close()
        self.writer.close()
        self.file.close()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with closing(Instance(tmp_path / "kms.sqlite")) as instance:
        yield instance


def failed(instance: Instance, next_ms: int) -> Failure:
    due = Due(instance.number, b"a", 1, 5, b"")
    return Failure(due, 1, 5, next_ms, "topic-missing", "it is not there")


def test_nothing_ends_a_service(instance: Instance) -> None:
    ending = Ending()
    ending.begin(instance.work)
    with ending.limit(threading.Event()):
        assert not ending.has_come()
    ending.raise_for_timeout()


def test_nothing_pending(instance: Instance) -> None:
    ending = instance.begun(OnceFired())
    assert ending.has_come()
    assert ending.summary == Summary(0, 0, 0, 0, None)


def test_not_before_it_is_caught_up_and_the_cache_knows(instance: Instance) -> None:
    ending, figures = OnceFired(), instance.work.consumer
    ending.begin(instance.work)
    assert not ending.has_come()  # the checkpoint was seen before it began
    instance.see(now_ms() + 1)
    figures.assigned_at = None
    assert not ending.has_come()
    figures.assigned_at, figures.caught_up = 0.0, 0
    assert not ending.has_come()
    figures.caught_up = 1
    assert ending.has_come()


def test_with_no_partitions_there_is_nothing_to_wait_for(instance: Instance) -> None:
    figures = instance.work.consumer
    figures.assigned = figures.caught_up = 0
    instance.put(b"a", Row(1, 5, b""))
    instance.claims.close([instance.number])
    ending = instance.begun(OnceFired())
    assert ending.has_come()
    assert ending.summary == Summary(0, 0, 0, 0, None)


def test_what_was_due_when_it_was_caught_up_is_waited_for(instance: Instance) -> None:
    later_ms = now_ms() + HOUR_MS
    instance.put(b"a", Row(1, 5, b""))
    instance.put(b"b", Row(2, later_ms, b""))
    ending = instance.begun(OnceFired())
    assert not ending.has_come()
    # What falls due from now on is the next run's.
    due_ms = now_ms() + 1
    instance.put(b"c", Row(3, due_ms, b""))
    instance.put(b"a", None)
    instance.work.producer.fired["target"] = 1
    instance.work.producer.buried["undecodable"] = 2
    assert ending.has_come()
    assert ending.summary == Summary(1, 2, 2, 0, due_ms)


def test_what_was_overtaken_is_waited_for(instance: Instance) -> None:
    instance.put(b"a", Row(1, now_ms() + HOUR_MS, b"", (), True))
    ending = instance.begun(OnceFired())
    assert not ending.has_come()
    instance.put(b"a", Row(2, now_ms() + HOUR_MS, b""))
    assert ending.has_come()


def test_what_its_target_refuses_is_waited_for_once(instance: Instance) -> None:
    instance.put(b"a", Row(1, 5, b""))
    instance.writer.note([failed(instance, 0)])  # as a start has it: at once
    ending = instance.begun(OnceFired())
    assert not ending.has_come()
    instance.writer.note([failed(instance, now_ms() + 1_000)])
    assert ending.has_come()
    assert ending.summary == Summary(0, 0, 1, 1, None)


def test_until_waits_for_all_that_falls_due(instance: Instance) -> None:
    until_ms = now_ms() + 300
    instance.put(b"a", Row(1, until_ms, b""))
    instance.put(b"b", Row(2, until_ms + HOUR_MS, b""))
    ending = instance.begun(OnceFired(until_ms))
    instance.put(b"c", None)
    while now_ms() < until_ms:
        assert not ending.has_come() or now_ms() >= until_ms
    assert not ending.has_come()
    instance.put(b"a", None)
    assert ending.has_come()
    assert ending.summary == Summary(0, 0, 1, 0, until_ms + HOUR_MS)


def test_a_timeout_says_how_far_it_got(instance: Instance) -> None:
    instance.put(b"a", Row(1, 5, b""))
    ending, stopping = instance.begun(OnceFired(timeout_ms=10)), threading.Event()
    with ending.limit(stopping):
        assert not ending.has_come()
        assert stopping.wait(10)
    with pytest.raises(TimedOutError, match="--timeout 10ms: not all that is due was fired"):
        ending.raise_for_timeout()


def test_a_timeout_says_what_waits_for_the_schema_registry(instance: Instance) -> None:
    figures = instance.work.consumer
    figures.caught_up, figures.held, figures.left_to_load = 0, 1, 3
    figures.held_at = ["orders/2 at offset 7"]
    ending, stopping = instance.begun(OnceFired(timeout_ms=10)), threading.Event()
    with ending.limit(stopping):
        assert not ending.has_come()
        assert stopping.wait(10)
    with pytest.raises(TimedOutError, match=r"did not give .* orders/2 at offset 7"):
        ending.raise_for_timeout()


def test_no_timeout_after_the_end(instance: Instance) -> None:
    ending, stopping = instance.begun(OnceFired(timeout_ms=10)), threading.Event()
    assert ending.has_come()
    with ending.limit(stopping):
        assert stopping.wait(10)
    ending.raise_for_timeout()


def test_a_cache_in_use_is_refused_or_waited_for(instance: Instance) -> None:
    path, stopping = instance.file.path, threading.Event()
    with pytest.raises(CacheInUseError):
        OnceFired().open_cache(path, stopping)
    with pytest.raises(CacheInUseError):
        Ending().open_cache(path, stopping)
    opened: list[CacheFile | None] = []
    waiting = OnceFired(wait=True)
    thread = threading.Thread(target=lambda: opened.append(waiting.open_cache(path, stopping)))
    thread.start()
    instance.file.close()
    thread.join(10)
    (instance.file,) = opened  # type: ignore[assignment]
    assert instance.file is not None
    stopping.set()
    assert waiting.open_cache(path, stopping) is None


def test_the_summary_is_one_line() -> None:
    assert Summary(3, 0, 2, 1, 5).text(1.234) == (
        "fired 3, pending 2, failed 1, next due 1970-01-01T00:00:00.005Z, took 1.23 s"
    )
    assert Summary(0, 4, 0, 0, None).text(0) == (
        "fired 0, to the dead-letter topic 4, pending 0, failed 0, next due none, took 0.00 s"
    )
    assert "next due 9223372036854775807, " in Summary(0, 0, 1, 0, 2**63 - 1).text(0)
    assert Summary(3, 0, 2, 1, None).json(1.2345) == (
        '{"fired": 3, "dead_letters": 0, "pending": 2, "failed": 1, "took_seconds": 1.234, '
        '"next_due": null}'
    )
