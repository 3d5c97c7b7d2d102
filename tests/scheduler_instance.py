"""A scheduler on a real cache, for its tests: fed as the consumer feeds it, emptied at will."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from kms.claims import Claims, Position
from kms.due import Due, DueQueue
from kms.formats import AVRO
from kms.schedule import Row
from kms.scheduler import DueScheduler
from kms.store import CacheFile, PartitionRows, Reader, Writer

DEADLINE_SECONDS = 20.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class WatchedReader(Reader):
    """Says when the scheduler has found out how long to sleep, and lets tests come in between."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.looked = threading.Event()
        self.after_due: list[Callable[[], None]] = []
        self.after_overtaken: list[Callable[[], None]] = []

    def due(
        self, number: int, after: Position, until_ms: int, limit: int, lane: int = 0
    ) -> list[Due]:
        found = super().due(number, after, until_ms, limit, lane)
        while found and self.after_due:
            self.after_due.pop()()
        return found

    def overtaken(self, number: int, limit: int) -> list[Due]:
        found = super().overtaken(number, limit)
        while found and self.after_overtaken:
            self.after_overtaken.pop()()
        return found

    def next_due_ms(self, number: int, after: Position, lane: int = 0) -> int | None:
        found = super().next_due_ms(number, after, lane)
        self.looked.set()
        return found


class Instance:
    """A scheduler, and what is around it in the service."""

    def __init__(self, file: CacheFile, room: int = 10_000) -> None:
        self.claims, self.queue = Claims(), DueQueue(room)
        self.writer, self.reader = Writer(file, self.claims), WatchedReader(file.path)
        self.scheduler = DueScheduler(self.reader, self.claims, self.queue, AVRO.decode)
        self.claims.changed = self.scheduler.wakeup
        self.parts = [self.partition("schedules", number) for number in range(2)]

    def partition(self, topic: str, number: int) -> PartitionRows:
        return self.writer.rows(self.writer.restart(topic, number, "id", "cluster", 0).number)

    def open(self) -> None:
        for part in self.parts:
            self.claims.open(part.number)

    def start(self) -> None:
        self.open()
        self.scheduler.start()

    def put(self, *due_ms: int, partition: int = 0, first_offset: int = 0) -> None:
        """Commit rows, whose ids are their offsets, and tell the claims as the consumer does."""
        part = self.parts[partition]
        for offset, due in enumerate(due_ms, first_offset):
            part[b"%d" % offset] = Row(offset, due, b"v")
        self.commit(part)

    def commit(self, part: PartitionRows) -> None:
        for number, folded in self.writer.commit([part], {}, {}).items():
            self.claims.folded(number, folded.offsets)
            if folded.earliest is not None:
                self.claims.stored(number, folded.earliest)

    def take(self, count: int) -> list[Due]:
        """As many as are due by the deadline, ``count`` at most."""
        found: list[Due] = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(found) < count and time.monotonic() < deadline:
            found += self.queue.take(count - len(found), 0.05)
            self.scheduler.raise_for_error()
        return found

    def sleeps(self) -> None:
        """Wait until it has looked at everything and is about to sleep."""
        self.reader.looked.clear()
        self.scheduler.wakeup()
        assert self.reader.looked.wait(DEADLINE_SECONDS)

    def close(self) -> None:
        self.scheduler.stop()
        ended = self.scheduler.join(DEADLINE_SECONDS)
        self.reader.close()
        self.writer.close()
        assert ended
