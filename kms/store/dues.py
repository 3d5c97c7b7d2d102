"""What is due, for the scheduler: of those that wait, of a lane, and of those that failed."""

from __future__ import annotations

from typing import Any

from kms.claims import BEFORE_ALL, Position
from kms.due import Due, Tried
from kms.store.bulk import unpack_headers
from kms.store.file import FAILED, LANE, OVERTAKEN, PENDING, cache_errors
from kms.store.lanes import LaneReader

Attempt = tuple[int, int]  # when the next one is due (ms), and its row: the order of attempts

_DUE = (
    "SELECT number, id, offset, due_ms, value, headers, state, record_ms FROM schedules"
    " WHERE number = ?"
)
# Through the failures: their index has the order, and few rows at a time are due again.
_AGAIN = (
    "SELECT s.number, s.id, s.offset, s.due_ms, s.value, s.headers, s.state,"
    " s.record_ms,"
    " f.attempts, f.since_ms, f.reason, f.next_ms, f.rowid FROM failures f JOIN schedules s"
    " ON s.number = f.number AND s.id = f.id AND s.offset = f.offset"
    f" WHERE f.number = ? AND {{range}} AND s.state & {FAILED}"
    " ORDER BY f.next_ms, f.rowid LIMIT ?"
)
# Not (next_ms, rowid) > (?, ?): SQLite would walk over all that have the same next_ms, and after
# a start all of them have.
_REST = _AGAIN.format(range="f.next_ms = ? AND f.rowid > ?")
_LATER = _AGAIN.format(range="f.next_ms > ? AND f.next_ms <= ?")


class DueReader(LaneReader):
    """The part of a Reader that the scheduler looks with; each method raises CacheError."""

    def due(
        self, number: int, after: Position, until_ms: int, limit: int, lane: int = 0
    ) -> list[Due]:
        """At most ``limit`` rows of a lane due at ``until_ms``, in order, past ``after``."""
        with cache_errors(self._path):
            found = self._connection.execute(
                _DUE + " AND state = ? AND (due_ms, offset) > (?, ?) AND due_ms <= ?"
                " ORDER BY due_ms, offset LIMIT ?",
                (number, PENDING + LANE * lane, *after, until_ms, limit),
            ).fetchall()
        return [_due(row) for row in found]

    def overtaken(self, number: int, limit: int) -> list[Due]:
        """At most ``limit`` rows of a partition that must be re-published."""
        with cache_errors(self._path):
            found = self._connection.execute(
                _DUE + f" AND state = {OVERTAKEN} ORDER BY due_ms, offset LIMIT ?", (number, limit)
            ).fetchall()
        return [_due(row) for row in found]

    def again(
        self, number: int, until_ms: int, limit: int, after: Attempt = BEFORE_ALL
    ) -> tuple[list[Due], Attempt]:
        """At most ``limit`` rows whose next attempt is due at ``until_ms``, in order.

        With them the last one's place in that order, past which the next search may go on.
        """
        with cache_errors(self._path):
            rows = self._connection.execute(_REST, (number, *after, limit)).fetchall()
            later = number, after[0], until_ms, limit - len(rows)
            rows += self._connection.execute(_LATER, later).fetchall()
        found = [_due(row[:8], Tried(*row[8:11])) for row in rows]
        return found, rows[-1][11:] if rows else after

    def next_again_ms(self, number: int) -> int | None:
        """When the next attempt of a partition's failed schedules is due, or None."""
        with cache_errors(self._path):
            (found,) = self._connection.execute(
                "SELECT min(next_ms) FROM failures WHERE number = ?", (number,)
            ).fetchone()
        return None if found is None else int(found)

    def next_due_ms(self, number: int, after: Position, lane: int = 0) -> int | None:
        """When the first row of a lane past ``after`` is due, or None."""
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT due_ms FROM schedules WHERE number = ? AND state = ?"
                " AND (due_ms, offset) > (?, ?) ORDER BY due_ms, offset LIMIT 1",
                (number, PENDING + LANE * lane, *after),
            ).fetchone()
        return None if found is None else int(found[0])


def _due(row: tuple[Any, ...], tried: Tried | None = None) -> Due:
    number, schedule_id, offset, due_ms, value, headers, state, record_ms = row
    overtaken, kept, lane = bool(state & OVERTAKEN), unpack_headers(headers), state // LANE
    return Due(number, schedule_id, offset, due_ms, value, kept, overtaken, tried, record_ms, lane)
