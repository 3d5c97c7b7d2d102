"""The one writer: a view of each partition's rows to fold into, committed with its checkpoint."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from kms.claims import Position
from kms.failures import Failure
from kms.schedule import Header, Row
from kms.store.file import FAILED, OVERTAKEN, PENDING, CacheFile, cache_errors


class Checkpoint(NamedTuple):
    """Up to where a partition is folded, and of which topic that is true.

    ``next_offset`` is the first offset not folded; what is before it was read at ``seen_ms``
    (epoch ms) or later. ``number`` names the partition in the store.
    """

    number: int
    topic: str
    partition: int
    topic_id: str
    cluster_id: str
    next_offset: int
    seen_ms: int


class Folded(NamedTuple):
    """What a commit changed in one partition.

    ``offsets`` holds the new row's offset of every id touched, None where the row was removed;
    ``earliest`` the first, in order of due time, of the rows that are new to the store.
    """

    offsets: Mapping[bytes, int | None]
    earliest: Position | None


class PartitionRows:
    """A partition's rows as the fold sees them: the table, and what is not yet written to it.

    Raises CacheError when the file can't be read, CacheDamagedError when it is damaged.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, number: int) -> None:
        self.number = number
        self._path = path
        self.changed: dict[bytes, Row | None] = {}
        self._connection = connection

    def get(self, schedule_id: bytes) -> Row | None:
        if schedule_id in self.changed:
            return self.changed[schedule_id]
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT offset, due_ms, value, headers, state FROM schedules"
                " WHERE number = ? AND id = ?",
                (self.number, schedule_id),
            ).fetchone()
        if found is None:
            return None
        offset, due_ms, value, headers, state = found
        return Row(offset, due_ms, value, unpack_headers(headers), bool(state & OVERTAKEN))

    def __setitem__(self, schedule_id: bytes, row: Row) -> None:
        self.changed[schedule_id] = row

    def __delitem__(self, schedule_id: bytes) -> None:
        self.changed[schedule_id] = None


class Writer:
    """Writes rows and checkpoints, both in one SQLite transaction; for one thread only.

    Every method raises CacheError when the file or the disk fails; what was committed before
    stays whole.
    """

    def __init__(self, file: CacheFile) -> None:
        self._path: Path = file.path
        self._connection = file.connect()
        self._has_failures = True  # as far as is known
        # A start tries all of them at once: what they failed for may be mended, or they buried.
        with cache_errors(self._path), self._connection:
            self._connection.execute("UPDATE failures SET next_ms = 0")
        self._data_version = -1

    def checkpoint(self, topic: str, partition: int) -> Checkpoint | None:
        """What the cache knows of a partition, or None."""
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT number, topic, partition, topic_id, cluster_id, next_offset, seen_ms"
                " FROM partitions WHERE topic = ? AND partition = ?",
                (topic, partition),
            ).fetchone()
        return found and Checkpoint(*found)

    def restart(
        self, topic: str, partition: int, topic_id: str, cluster_id: str, next_offset: int
    ) -> Checkpoint:
        """Forget all rows of a partition, to fold it from ``next_offset``, seen as of now."""
        old = self.checkpoint(topic, partition)
        now_ms = time.time_ns() // 1_000_000
        with cache_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if old is not None:
                for table in ("schedules", "failures"):
                    self._connection.execute(f"DELETE FROM {table} WHERE number = ?", (old.number,))
            self._connection.execute(
                "INSERT OR REPLACE INTO partitions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    old and old.number,
                    topic,
                    partition,
                    topic_id,
                    cluster_id,
                    next_offset,
                    now_ms,
                    now_ms,
                ),
            )
        fresh = self.checkpoint(topic, partition)
        assert fresh is not None
        return fresh

    def rows(self, number: int) -> PartitionRows:
        """The rows of a partition to fold into; hand it to ``commit`` to have it written."""
        return PartitionRows(self._path, self._connection, number)

    def commit(
        self,
        rows: Collection[PartitionRows],
        next_offsets: Mapping[int, int],
        seen_ms: Mapping[int, int],
    ) -> dict[int, Folded]:
        """Write changed rows and the checkpoints (by partition number) in one transaction.

        ``rows`` are empty afterwards. Returns what changed, by partition number.
        """
        now_ms = time.time_ns() // 1_000_000
        with cache_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            folded = {part.number: self._write(part) for part in rows if part.changed}
            self._connection.executemany(
                "UPDATE partitions SET next_offset = ?, written_ms = ? WHERE number = ?",
                [(offset, now_ms, number) for number, offset in next_offsets.items()],
            )
            self._connection.executemany(
                "UPDATE partitions SET seen_ms = ? WHERE number = ?",
                [(seen, number) for number, seen in seen_ms.items()],
            )
        for part in rows:
            part.changed = {}
        return folded

    def note(self, failures: Collection[Failure]) -> None:
        """Write down failed attempts; those of rows that were replaced meanwhile are dropped."""
        with cache_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for due, attempt, since_ms, next_ms, reason, text in failures:
                marked = self._connection.execute(
                    f"UPDATE schedules SET state = state | {FAILED}"
                    " WHERE number = ? AND id = ? AND offset = ?",
                    (due.number, due.id, due.offset),
                )
                if marked.rowcount:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (due.number, due.id, due.offset, attempt, since_ms, next_ms, reason, text),
                    )
        self._has_failures = True

    def was_changed(self) -> bool:
        """Whether somebody else has written the file since the last call: ``retry`` does."""
        with cache_errors(self._path):
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        before, self._data_version = self._data_version, version
        return before not in (-1, version)

    def close(self) -> None:
        """Close the connection; SQLite folds the write-ahead log into the file."""
        with cache_errors(self._path):
            self._connection.close()

    def _forget_failures(self, ids: Collection[tuple[int, bytes]]) -> None:
        if self._has_failures:
            self._connection.executemany("DELETE FROM failures WHERE number = ? AND id = ?", ids)
            left = self._connection.execute("SELECT 1 FROM failures LIMIT 1").fetchone()
            self._has_failures = left is not None

    def _write(self, part: PartitionRows) -> Folded:
        number = part.number
        puts = [
            (number, i, row.offset, row.due_ms, row.value, pack_headers(row.headers), state_of(row))
            for i, row in part.changed.items()
            if row is not None
        ]
        gone = [(number, i) for i, row in part.changed.items() if row is None]
        self._forget_failures([(number, i) for i in part.changed])
        self._connection.executemany(
            "INSERT INTO schedules (number, id, offset, due_ms, value, headers, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number, id) DO UPDATE SET"
            " offset = excluded.offset, due_ms = excluded.due_ms, value = excluded.value,"
            " headers = excluded.headers, state = excluded.state",
            puts,
        )
        self._connection.executemany("DELETE FROM schedules WHERE number = ? AND id = ?", gone)
        earliest = min(((put[3], put[2]) for put in puts), default=None)
        return Folded({i: row and row.offset for i, row in part.changed.items()}, earliest)


def state_of(row: Row) -> int:
    """What is to be done with a row as the fold left it."""
    return OVERTAKEN if row.republish else PENDING


def pack_headers(headers: tuple[Header, ...]) -> str | None:
    """Headers as JSON with hexadecimal values; None where there are none, as nearly always."""
    if not headers:
        return None
    return json.dumps([[name, value if value is None else value.hex()] for name, value in headers])


def unpack_headers(packed: str | None) -> tuple[Header, ...]:
    """What ``pack_headers`` was given."""
    if packed is None:
        return ()
    return tuple(
        (name, value if value is None else bytes.fromhex(value))
        for name, value in json.loads(packed)
    )
