"""Lanes: where schedules wait whose target topic is held back, each topic's in its own.

In the due index a lane is a state of its own. So however many wait in one, they are in nobody's
way, and those of one lane come in the order of their times.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kms.due import Due
from kms.store import bulk
from kms.store.file import LANE, PENDING, cache_errors


class LaneReader:
    """What readers of the cache know of lanes; each method raises CacheError."""

    _path: Path
    _connection: sqlite3.Connection

    def lanes(self) -> dict[int, str]:
        """The lanes that there are, by number: the target topic of those who wait in it."""
        return dict(self._pairs("SELECT lane, topic FROM lanes"))

    def pauses(self) -> dict[str, int]:
        """The target topics that were paused when the service last looked, since when (ms)."""
        return dict(self._pairs("SELECT topic, since_ms FROM pauses"))

    def held_back(self, numbers: Collection[int], now_ms: int) -> dict[str, int]:
        """How many of these partitions wait in a lane, their time come; by target topic."""
        found = dict.fromkeys(self.lanes().values(), 0)
        for number in numbers:
            found_here = self._pairs(
                "SELECT topic, (SELECT count(*) FROM schedules WHERE number = ?"
                f" AND state = lane * {LANE} + {PENDING} AND due_ms <= ?) FROM lanes",
                number,
                now_ms,
            )
            for topic, count in found_here:
                found[topic] += count
        return found

    def _pairs(self, query: str, *values: int) -> list[tuple[Any, Any]]:
        with cache_errors(self._path):
            return self._connection.execute(query, values).fetchall()


def set_aside(connection: sqlite3.Connection, lane: int, topic: str, rows: Collection[Due]) -> None:
    """Let these rows wait in the lane of a target topic; what was replaced stays as it is."""
    by_number: dict[int, list[tuple[bytes, int]]] = {}
    for due in rows:
        by_number.setdefault(due.number, []).append((due.id, due.offset))
    connection.execute("INSERT OR IGNORE INTO lanes VALUES (?, ?)", (lane, topic))
    for number, found in by_number.items():
        bulk.move(connection, number, found, PENDING + LANE * lane)


def write_pauses(connection: sqlite3.Connection, since_ms: Mapping[str, int]) -> None:
    """Keep which target topics are paused, for those who look at the cache alone."""
    connection.execute("DELETE FROM pauses")
    connection.executemany("INSERT INTO pauses VALUES (?, ?)", since_ms.items())
