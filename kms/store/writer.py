"""The one writer: a view of each partition's rows to fold into, committed with its checkpoint."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from kms.claims import Claims, Position
from kms.due import Due
from kms.failures import Failure
from kms.schedule import Row
from kms.store import bulk, lanes
from kms.store.bulk import unpack_headers
from kms.store.file import FAILED, OVERTAKEN, CacheFile, cache_errors

_ROWS_A_STATEMENT = 5_000  # a copy of them is made, which takes memory


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

    A row that is claimed is not read again: nearly all that is fired comes home while it is.
    Raises CacheError when the file can't be read, CacheDamagedError when it is damaged.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, number: int, claims: Claims
    ) -> None:
        self.number = number
        self._path = path
        self._claims = claims
        self.changed: dict[bytes, Row | None] = {}
        self.sealed: dict[bytes, Row | None] = {}  # is being written
        self._connection = connection

    def get(self, schedule_id: bytes) -> Row | None:
        for recent in (self.changed, self.sealed):
            if schedule_id in recent:
                return recent[schedule_id]
        due = self._claims.held(self.number, schedule_id)
        if due is not None:
            return Row(
                due.offset, due.due_ms, due.value, due.headers, due.republish, due.written_ms
            )
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT offset, due_ms, value, headers, state, record_ms FROM schedules"
                " WHERE number = ? AND id = ?",
                (self.number, schedule_id),
            ).fetchone()
        if found is None:
            return None
        offset, due_ms, value, headers, state, record_ms = found
        kept, overtaken = unpack_headers(headers), bool(state & OVERTAKEN)
        return Row(offset, due_ms, value, kept, overtaken, record_ms)

    def __setitem__(self, schedule_id: bytes, row: Row) -> None:
        self.changed[schedule_id] = row

    def __delitem__(self, schedule_id: bytes) -> None:
        self.changed[schedule_id] = None

    def seal(self) -> None:
        """What has changed is to be written as it is now; further changes come after it."""
        self.sealed.update(self.changed)  # empty, unless writing it failed
        self.changed = {}

    def written(self) -> None:
        """The table has it, and the claims know."""
        self.sealed = {}


class Writer:
    """Writes rows and checkpoints, both in one SQLite transaction; for one thread only.

    Every method raises CacheError when the file or the disk fails; what was committed before
    stays whole.
    """

    def __init__(self, file: CacheFile, claims: Claims | None = None) -> None:
        self._path: Path = file.path
        self._claims = claims or Claims()  # without a scheduler nothing is claimed
        self._connection = file.connect()
        self._has_failures = True  # as far as is known
        # A start tries all of them at once: what they failed for may be mended, or they buried.
        with cache_errors(self._path), self._connection:
            self._connection.execute("UPDATE failures SET next_ms = 0")
        self._data_version = -1
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

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
        return PartitionRows(self._path, self._connection, number, self._claims)

    def commit(
        self,
        rows: Collection[PartitionRows],
        next_offsets: Mapping[int, int],
        seen_ms: Mapping[int, int],
    ) -> dict[int, Folded]:
        """Write changed rows and the checkpoints (by partition number) in one transaction.

        Returns what changed, by partition number.
        """
        for part in rows:
            part.seal()
        folded = self._commit(rows, next_offsets, seen_ms)
        for part in rows:
            part.written()
        return folded

    def commit_in_background(
        self,
        rows: Collection[PartitionRows],
        next_offsets: Mapping[int, int],
        seen_ms: Mapping[int, int],
    ) -> Future[dict[int, Folded]]:
        """The same while the caller folds on; call ``written`` on each of ``rows`` afterwards.

        Until the result is there nothing else may be asked of this writer.
        """
        for part in rows:
            part.seal()
        return self._background.submit(self._commit, rows, next_offsets, seen_ms)

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

    def set_aside(self, lane: int, topic: str, rows: Collection[Due]) -> None:
        """Let these rows wait in the lane of a target topic."""
        with cache_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            lanes.set_aside(self._connection, lane, topic, rows)

    def remember_pauses(self, since_ms: Mapping[str, int]) -> None:
        """Keep which target topics are paused, since when."""
        with cache_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            lanes.write_pauses(self._connection, since_ms)

    def remember_schemas(self, registry: str, schemas: Mapping[int, Sequence[str]]) -> None:
        """Keep schemas by id, so that a start needs no registry for what is folded already."""
        with cache_errors(self._path), self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO schemas VALUES (?, ?, ?)",
                [(registry, schema_id, json.dumps(texts)) for schema_id, texts in schemas.items()],
            )

    def was_changed(self) -> bool:
        """Whether somebody else has written the file since the last call: ``retry`` does."""
        with cache_errors(self._path):
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        before, self._data_version = self._data_version, version
        return before not in (-1, version)

    def close(self) -> None:
        """Fold the write-ahead log into the file, and close the connection.

        SQLite does so by itself for the last to close only, and a reader may not write.
        """
        self._background.shutdown()
        with cache_errors(self._path), closing(self._connection):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _commit(
        self,
        rows: Collection[PartitionRows],
        next_offsets: Mapping[int, int],
        seen_ms: Mapping[int, int],
    ) -> dict[int, Folded]:
        now_ms = time.time_ns() // 1_000_000
        with cache_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            folded = {part.number: self._write(part) for part in rows if part.sealed}
            self._connection.executemany(
                "UPDATE partitions SET next_offset = ?, written_ms = ? WHERE number = ?",
                [(offset, now_ms, number) for number, offset in next_offsets.items()],
            )
            self._connection.executemany(
                "UPDATE partitions SET seen_ms = ? WHERE number = ?",
                [(seen, number) for number, seen in seen_ms.items()],
            )
        return folded

    def _write(self, part: PartitionRows) -> Folded:
        number, sealed = part.number, part.sealed
        if self._has_failures:
            bulk.forget_failures(self._connection, number, list(sealed))
            left = self._connection.execute("SELECT 1 FROM failures LIMIT 1").fetchone()
            self._has_failures = left is not None
        puts = [(i, row) for i, row in sealed.items() if row is not None]
        # In order of the ids: so each page of their index is looked up once, however few are kept
        # in memory (measured: with 16 MB as fast as without with 64).
        puts.sort(key=itemgetter(0))
        for start in range(0, len(puts), _ROWS_A_STATEMENT):
            bulk.put(self._connection, number, puts[start : start + _ROWS_A_STATEMENT])
        bulk.delete(self._connection, number, [i for i, row in sealed.items() if row is None])
        earliest = min(((row.due_ms, row.offset) for _, row in puts), default=None)
        return Folded({i: row and row.offset for i, row in sealed.items()}, earliest)
