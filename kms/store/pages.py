"""What the HTTP port shows of the cache: pending schedules from any place on, and counts."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kms.schedule import Header
from kms.store.bulk import unpack_headers
from kms.store.file import FAILED, LANE, OVERTAKEN, PENDING, cache_errors, connect_for_reading
from kms.store.lanes import LaneReader
from kms.store.pending import Failed

_COLUMNS = "s.due_ms, s.offset, s.number, s.id, s.value, s.headers, s.record_ms"
_ATTEMPTS = "f.attempts, f.since_ms, f.next_ms, f.reason, f.text"
_JOINED = "LEFT JOIN failures f ON f.number = s.number AND f.id = s.id AND f.offset = s.offset"


class Place(NamedTuple):
    """Where a schedule stands among all of them; they are walked in this order."""

    due_ms: int
    offset: int
    number: int


class Waiting(NamedTuple):
    """A pending schedule, and the failed attempts to fire it."""

    place: Place
    id: bytes
    value: bytes
    headers: tuple[Header, ...]
    written_ms: int
    failed: Failed | None


class PageReader(LaneReader):
    """Reads what the HTTP port shows, always of the partitions with these ``numbers`` only.

    For one thread at a time; every method raises CacheError when the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect_for_reading(path)

    def walk(
        self,
        numbers: Collection[int],
        after: Place | None = None,
        before_ms: int | None = None,
        *,
        failed: bool | None = None,
    ) -> Iterator[Waiting]:
        """The schedules past ``after`` and due before ``before_ms``, soonest first.

        ``failed`` means those only that wait for another attempt, or only the others. Close it:
        until then it keeps the cache as it was.
        """
        states = [
            lane * LANE + state
            for lane in (0, *self.lanes())
            for state in (PENDING, OVERTAKEN, FAILED, FAILED | OVERTAKEN)
            if failed in (None, state >= FAILED)
        ]
        return heapq.merge(
            *(
                self._walk(number, state, after, before_ms)
                for number in numbers
                for state in states
            ),
            key=lambda found: found.place,
        )

    def named(self, numbers: Collection[int], schedule_id: bytes) -> list[Waiting]:
        """The schedules with this id, one of a partition at most."""
        with cache_errors(self._path):
            rows = [
                self._connection.execute(
                    f"SELECT {_COLUMNS}, {_ATTEMPTS} FROM schedules s {_JOINED}"
                    " WHERE s.number = ? AND s.id = ?",
                    (number, schedule_id),
                ).fetchone()
                for number in numbers
            ]
        return sorted((_waiting(row) for row in rows if row), key=lambda found: found.place)

    def counts(self, numbers: Collection[int]) -> dict[int, int]:
        """How many are pending, by partition."""
        return {number: self._count("number = ?", number) for number in numbers}

    def failed_count(self, numbers: Collection[int]) -> int:
        """How many wait for another attempt."""
        with cache_errors(self._path):
            return sum(
                self._connection.execute(
                    "SELECT count(*) FROM failures WHERE number = ?", (number,)
                ).fetchone()[0]
                for number in numbers
            )

    def overdue(self, numbers: Collection[int], now_ms: int) -> int:
        """How many have not been tried, though their time has come."""
        where = f"number = ? AND state = {PENDING} AND due_ms <= ?"
        return sum(self._count(where, number, now_ms) for number in numbers)

    def next_due_ms(self, numbers: Collection[int]) -> int | None:
        """When the first of those that have not been tried is due, or None."""
        with cache_errors(self._path):
            found = [
                self._connection.execute(
                    f"SELECT min(due_ms) FROM schedules WHERE number = ? AND state = {PENDING}",
                    (number,),
                ).fetchone()[0]
                for number in numbers
            ]
        return min((due_ms for due_ms in found if due_ms is not None), default=None)

    def due_counts(self, numbers: Collection[int], bounds_ms: Sequence[int]) -> list[int]:
        """How many are due from each bound up to, not including, the next one."""
        where = f"number = ? AND state = {PENDING} AND due_ms >= ? AND due_ms < ?"
        return [
            sum(self._count(where, number, start, end) for number in numbers)
            for start, end in itertools.pairwise(bounds_ms)
        ]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _count(self, where: str, *values: int) -> int:
        with cache_errors(self._path):
            (count,) = self._connection.execute(
                f"SELECT count(*) FROM schedules WHERE {where}", values
            ).fetchone()
        return int(count)

    def _walk(
        self, number: int, state: int, after: Place | None, before_ms: int | None
    ) -> Iterator[Waiting]:
        # One ordered walk a partition and state along the due index: nothing is sorted.
        where, values = "s.number = ? AND s.state = ?", [number, state]
        if after is not None:
            where += " AND (s.due_ms, s.offset) > (?, ?)"
            values += [after.due_ms, after.offset - (number > after.number)]
        if before_ms is not None:
            where += " AND s.due_ms < ?"
            values.append(before_ms)
        attempts, joined = (_ATTEMPTS, _JOINED) if state & FAILED else ("NULL", "")
        with cache_errors(self._path):
            for row in self._connection.execute(
                f"SELECT {_COLUMNS}, {attempts} FROM schedules s {joined} WHERE {where}"
                " ORDER BY s.due_ms, s.offset",
                values,
            ):
                yield _waiting(row)


def _waiting(row: tuple[object, ...]) -> Waiting:
    due_ms, offset, number, schedule_id, value, headers, record_ms, *attempts = row
    failed = None if attempts[0] is None else Failed(*attempts)  # type: ignore[arg-type]
    place, kept = Place(due_ms, offset, number), unpack_headers(headers)  # type: ignore[arg-type]
    return Waiting(place, schedule_id, value, kept, record_ms, failed)  # type: ignore[arg-type]
