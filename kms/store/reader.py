"""Readers: what is due for the scheduler, what is pending for inspect and the metrics."""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kms.claims import Position
from kms.due import Due
from kms.store.file import cache_errors, connect_for_reading
from kms.store.writer import Checkpoint, unpack_headers

_DUE = (
    "SELECT number, id, offset, due_ms, value, headers, republish FROM schedules WHERE number = ?"
)


class Pending(NamedTuple):
    """A pending schedule and the record that made it."""

    topic: str
    partition: int
    offset: int
    id: bytes
    due_ms: int
    value: bytes


class Filter(NamedTuple):
    """Which pending schedules are meant; None means any. ``topic`` is the schedule topic."""

    id: bytes | None = None
    topic: str | None = None
    before_ms: int | None = None


class Reader:
    """Reads the cache beside its writer, always as of one commit; for one thread at a time.

    Every method raises CacheError when the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect_for_reading(path)

    def due(self, number: int, after: Position, until_ms: int, limit: int) -> list[Due]:
        """At most ``limit`` rows of a partition due at ``until_ms``, in order, past ``after``."""
        with cache_errors(self._path):
            found = self._connection.execute(
                _DUE + " AND (due_ms, offset) > (?, ?) AND due_ms <= ?"
                " ORDER BY due_ms, offset LIMIT ?",
                (number, *after, until_ms, limit),
            ).fetchall()
        return [_due(row) for row in found]

    def overtaken(self, number: int, limit: int) -> list[Due]:
        """At most ``limit`` rows of a partition that must be re-published."""
        with cache_errors(self._path):
            found = self._connection.execute(
                _DUE + " AND republish ORDER BY offset LIMIT ?", (number, limit)
            ).fetchall()
        return [_due(row) for row in found]

    def next_due_ms(self, number: int, after: Position) -> int | None:
        """When the first row past ``after`` is due, or None."""
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT due_ms FROM schedules WHERE number = ? AND (due_ms, offset) > (?, ?)"
                " ORDER BY due_ms, offset LIMIT 1",
                (number, *after),
            ).fetchone()
        return None if found is None else int(found[0])

    def checkpoints(self) -> list[tuple[Checkpoint, int]]:
        """Every partition the cache knows, and when (epoch ms) its checkpoint was written."""
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT number, topic, partition, topic_id, cluster_id, next_offset, seen_ms,"
                " written_ms FROM partitions ORDER BY topic, partition"
            ).fetchall()
        return [(Checkpoint(*row[:-1]), row[-1]) for row in found]

    def counts(self) -> dict[tuple[str, int], int]:
        """How many schedules are pending, by topic and partition."""
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT topic, partition, (SELECT count(*) FROM schedules"
                " WHERE schedules.number = partitions.number) FROM partitions"
            ).fetchall()
        return {(topic, partition): count for topic, partition, count in found}

    def count(self, wanted: Filter) -> int:
        """How many pending schedules the filter lets through."""
        where, values = _where(wanted)
        with cache_errors(self._path):
            return sum(
                self._connection.execute(
                    f"SELECT count(*) FROM schedules {where}", (number, *values)
                ).fetchone()[0]
                for number, _ in self._numbers(wanted)
            )

    def pending(self, wanted: Filter, limit: int | None = None) -> Iterator[Pending]:
        """The pending schedules that the filter lets through, soonest first."""
        merged = heapq.merge(
            *(self._pending(number, name, wanted) for number, name in self._numbers(wanted)),
            key=lambda found: (found.due_ms, found.offset),
        )
        return itertools.islice(merged, limit)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read inside is as of one commit."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _numbers(self, wanted: Filter) -> list[tuple[int, tuple[str, int]]]:
        return [
            (known.number, (known.topic, known.partition))
            for known, _ in self.checkpoints()
            if wanted.topic in (None, known.topic)
        ]

    def _pending(self, number: int, name: tuple[str, int], wanted: Filter) -> Iterator[Pending]:
        # One ordered walk a partition, merged by the caller: the first page needs no sorting.
        where, values = _where(wanted)
        with cache_errors(self._path):
            for row in self._connection.execute(
                f"SELECT offset, id, due_ms, value FROM schedules {where} ORDER BY due_ms, offset",
                (number, *values),
            ):
                yield Pending(*name, *row)


def _due(row: sqlite3.Row) -> Due:
    number, schedule_id, offset, due_ms, value, headers, republish = row
    return Due(number, schedule_id, offset, due_ms, value, unpack_headers(headers), bool(republish))


def _where(wanted: Filter) -> tuple[str, list[object]]:
    tests = {"id = ?": wanted.id, "due_ms < ?": wanted.before_ms}
    used = {test: value for test, value in tests.items() if value is not None}
    return "WHERE " + " AND ".join(["number = ?", *used]), list(used.values())
