"""Readers: what is due for the scheduler, what is pending for inspect and the metrics."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kms.claims import Position
from kms.due import Due, Tried
from kms.store.bulk import unpack_headers
from kms.store.file import FAILED, OVERTAKEN, PENDING, cache_errors, connect_for_reading
from kms.store.writer import Checkpoint

_STATES = 4
_DUE = (
    "SELECT number, id, offset, due_ms, value, headers, state, record_ms FROM schedules"
    " WHERE number = ?"
)
# Through the failures: their index has the order, and few rows at a time are due again.
_AGAIN = (
    "SELECT s.number, s.id, s.offset, s.due_ms, s.value, s.headers, s.state,"
    " s.record_ms,"
    " f.attempts, f.since_ms, f.reason FROM failures f JOIN schedules s"
    " ON s.number = f.number AND s.id = f.id AND s.offset = f.offset"
    f" WHERE f.number = ? AND f.next_ms <= ? AND s.state >= {FAILED}"
    " ORDER BY f.next_ms LIMIT ?"
)


class Failed(NamedTuple):
    """The failed attempts to fire a schedule, and the last one's reason."""

    attempts: int
    since_ms: int
    next_ms: int
    reason: str
    text: str


class Pending(NamedTuple):
    """A pending schedule and the record that made it; ``failed`` if that was tried in vain."""

    topic: str
    partition: int
    offset: int
    id: bytes
    due_ms: int
    value: bytes
    failed: Failed | None = None


class Filter(NamedTuple):
    """Which pending schedules are meant; None means any. ``topic`` is the schedule topic.

    ``failed`` means those only that could not be fired and wait for another attempt.
    """

    id: bytes | None = None
    topic: str | None = None
    before_ms: int | None = None
    failed: bool = False


class Reader:
    """Reads the cache beside its writer, always as of one commit; for one thread at a time.

    Every method raises CacheError when the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect_for_reading(path)

    def schemas(self, registry: str) -> dict[int, tuple[str, ...]]:
        """The schemas that were remembered of this registry, by id."""
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT id, texts FROM schemas WHERE registry = ?", (registry,)
            ).fetchall()
        return {schema_id: tuple(json.loads(texts)) for schema_id, texts in found}

    def due(self, number: int, after: Position, until_ms: int, limit: int) -> list[Due]:
        """At most ``limit`` rows of a partition due at ``until_ms``, in order, past ``after``."""
        with cache_errors(self._path):
            found = self._connection.execute(
                _DUE + f" AND state = {PENDING} AND (due_ms, offset) > (?, ?) AND due_ms <= ?"
                " ORDER BY due_ms, offset LIMIT ?",
                (number, *after, until_ms, limit),
            ).fetchall()
        return [_due(row) for row in found]

    def overtaken(self, number: int, limit: int) -> list[Due]:
        """At most ``limit`` rows of a partition that must be re-published."""
        with cache_errors(self._path):
            found = self._connection.execute(
                _DUE + f" AND state = {OVERTAKEN} ORDER BY due_ms, offset LIMIT ?", (number, limit)
            ).fetchall()
        return [_due(row) for row in found]

    def again(self, number: int, until_ms: int, limit: int) -> list[Due]:
        """At most ``limit`` rows whose next attempt is due at ``until_ms``, in order."""
        with cache_errors(self._path):
            found = self._connection.execute(_AGAIN, (number, until_ms, limit)).fetchall()
        return [_due(row[:8], Tried(*row[8:])) for row in found]

    def next_again_ms(self, number: int) -> int | None:
        """When the next attempt of a partition's failed schedules is due, or None."""
        with cache_errors(self._path):
            (found,) = self._connection.execute(
                "SELECT min(next_ms) FROM failures WHERE number = ?", (number,)
            ).fetchone()
        return None if found is None else int(found)

    def next_due_ms(self, number: int, after: Position) -> int | None:
        """When the first row past ``after`` is due, or None."""
        with cache_errors(self._path):
            found = self._connection.execute(
                f"SELECT due_ms FROM schedules WHERE number = ? AND state = {PENDING}"
                " AND (due_ms, offset) > (?, ?) ORDER BY due_ms, offset LIMIT 1",
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

    def failed_count(self) -> int:
        """How many schedules wait for another attempt."""
        with cache_errors(self._path):
            (count,) = self._connection.execute("SELECT count(*) FROM failures").fetchone()
        return int(count)

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
        if wanted.failed:
            where += f" AND state >= {FAILED}"
        with cache_errors(self._path):
            return sum(
                self._connection.execute(
                    f"SELECT count(*) FROM schedules s {where}", (number, *values)
                ).fetchone()[0]
                for number, _ in self._numbers(wanted)
            )

    def pending(self, wanted: Filter, limit: int | None = None) -> Iterator[Pending]:
        """The pending schedules that the filter lets through, soonest first."""
        states = (FAILED, FAILED | OVERTAKEN) if wanted.failed else range(_STATES)
        merged = heapq.merge(
            *(
                self._pending(number, name, state, wanted)
                for number, name in self._numbers(wanted)
                for state in states
            ),
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

    def _pending(
        self, number: int, name: tuple[str, int], state: int, wanted: Filter
    ) -> Iterator[Pending]:
        # One ordered walk a partition and state, merged by the caller: the first page needs no
        # sorting.
        where, values = _where(wanted)
        with cache_errors(self._path):
            for row in self._connection.execute(
                "SELECT s.offset, s.id, s.due_ms, s.value, f.attempts, f.since_ms, f.next_ms,"
                " f.reason, f.text FROM schedules s LEFT JOIN failures f"
                f" ON f.number = s.number AND f.id = s.id {where} AND state = ?"
                " ORDER BY due_ms, s.offset",
                (number, *values, state),
            ):
                failed = None if row[4] is None else Failed(*row[4:])
                offset, schedule_id, due_ms, value = row[:4]
                yield Pending(*name, offset, schedule_id, due_ms, value, failed)


def _due(row: tuple[Any, ...], tried: Tried | None = None) -> Due:
    number, schedule_id, offset, due_ms, value, headers, state, record_ms = row
    overtaken, kept = bool(state & OVERTAKEN), unpack_headers(headers)
    return Due(number, schedule_id, offset, due_ms, value, kept, overtaken, tried, record_ms)


def _where(wanted: Filter) -> tuple[str, list[object]]:
    tests = {
        "s.id = ?": wanted.id,
        "due_ms < ?": wanted.before_ms,
    }
    used = {test: value for test, value in tests.items() if value is not None}
    return "WHERE " + " AND ".join(["s.number = ?", *used]), list(used.values())
