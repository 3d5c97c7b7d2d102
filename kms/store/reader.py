"""The reader of the cache: what is pending for inspect and the checks, and all else there is."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kms.errors import FormatError, RegistryAwayError
from kms.formats import AVRO, USUAL, Format, Kinds
from kms.schedule import Record
from kms.store import filters
from kms.store.bulk import unpack_headers
from kms.store.dues import DueReader
from kms.store.file import cache_errors, connect_for_reading
from kms.store.filters import By, Filter
from kms.store.pending import Failed, Pending
from kms.store.writer import Checkpoint

# So many are sorted at once; more are walked in the order of their index, which has the first
# ones soonest if those that are wanted lie close enough.
_FEW = 20_000
_PENDING = (
    "SELECT s.number, s.offset, s.id, s.due_ms, s.value, s.headers, s.record_ms, f.attempts,"
    " f.since_ms, f.next_ms, f.reason, f.text FROM schedules s{scan} LEFT JOIN failures f"
    " ON f.number = s.number AND f.id = s.id {where} ORDER BY s.due_ms, s.offset"
)


class Reader(DueReader):
    """Reads the cache beside its writer, always as of one commit; for one thread at a time.

    Every method raises CacheError when the file can't be read.
    """

    def __init__(self, path: Path, forms: Mapping[str, Format] | None = None) -> None:
        """``forms`` are the formats of the schedule topics, Avro where it names none."""
        self._path = path
        self._forms = forms or {}
        self._numbered: dict[int, Format] = {}  # by partition; asked for by ``target_of``
        self._connection = connect_for_reading(path)
        self._connection.create_function("target_of", 3, self._target_of, deterministic=True)
        self._counted: dict[Filter, int] | None = None  # inside of a snapshot
        self._scanned: dict[Filter, list[int]] = {}

    def schemas(self, registry: str) -> dict[int, tuple[str, ...]]:
        """The schemas that were remembered of this registry, by id."""
        with cache_errors(self._path):
            found = self._connection.execute(
                "SELECT id, texts FROM schemas WHERE registry = ?", (registry,)
            ).fetchall()
        return {schema_id: tuple(json.loads(texts)) for schema_id, texts in found}

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
        if self._counted is not None and wanted in self._counted:
            return self._counted[wanted]
        scan = self._scan(wanted)
        where, values = self._where(wanted)
        # Of a scan the rows are kept, if few: one through all values is enough.
        what = "s.rowid" if scan else "count(*)"
        with cache_errors(self._path):
            found = self._connection.execute(
                f"SELECT {what} FROM schedules s{scan} {where}", values
            ).fetchall()
        count = len(found) if scan else int(found[0][0])
        if self._counted is not None:
            self._counted[wanted] = count
            if scan and count <= _FEW:
                self._scanned[wanted] = [row for (row,) in found]
        return count

    def count_by(self, wanted: Filter, by: By) -> list[tuple[Any, int]]:
        """How many of them, by target topic (bytes) or by the hour or day they are due in.

        Hours and days are those of UTC, named by their begin in epoch ms, in order; topics are in
        order of how many there are. None is what is no schedule.
        """
        scan = self._scan(wanted, by_value=by == "topic")
        where, values = self._where(wanted)
        order = "2 DESC, 1" if by == "topic" else "1"
        group = filters.group(by, self._avro())
        found = f"count(*) FROM schedules s{scan} {where}"
        with cache_errors(self._path):
            counts = self._connection.execute(
                f"SELECT {group}, {found} GROUP BY 1 ORDER BY {order}",
                values,
            ).fetchall()
            if by == "topic" or wanted.target is not None:
                return counts
            # Apart, so that for the others the due index has all there is to know.
            (others,) = self._connection.execute(
                f"SELECT {found} AND {filters.NO_SCHEDULE}", values
            ).fetchone()
        if not others:
            return counts
        left = [(start, count - (others if start == 0 else 0)) for start, count in counts]
        return [(None, others), *(each for each in left if each[1])]

    def pending(self, wanted: Filter, limit: int | None = None) -> Iterator[Pending]:
        """The pending schedules that the filter lets through, soonest first."""
        names = self._names(wanted)
        if wanted.is_plain or self.count(wanted) > _FEW:
            by_id = wanted.id is not None
            # One ordered walk a partition and state: the first page needs no sorting.
            walks = [
                self._pending(names, self._where(wanted, [number], [state], by_id=by_id))
                for number in names
                for state in self._states(wanted)
            ]
        else:
            rows = self._scanned.get(wanted)
            where = _these(rows) if rows is not None else self._where(wanted)
            scan = "" if rows is not None else self._scan(wanted)
            walks = [self._pending(names, where, scan)]
        merged = heapq.merge(*walks, key=lambda found: (found.due_ms, found.offset))
        return itertools.islice(merged, limit)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read inside is as of one commit."""
        self._connection.execute("BEGIN")
        self._counted = {}
        try:
            yield
        finally:
            self._counted = None
            self._scanned = {}
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _names(self, wanted: Filter) -> dict[int, tuple[str, int]]:
        return {
            known.number: (known.topic, known.partition)
            for known, _ in self.checkpoints()
            if wanted.topic in (None, known.topic)
        }

    def _where(
        self,
        wanted: Filter,
        numbers: Sequence[int] | None = None,
        states: Sequence[int] | None = None,
        *,
        by_id: bool | None = None,
    ) -> tuple[str, list[object]]:
        return filters.where(
            wanted,
            self._avro(),
            list(self._names(wanted)) if numbers is None else numbers,
            self._states(wanted) if states is None else states,
            by_id=self._is_by_id(wanted) if by_id is None else by_id,
        )

    def _states(self, wanted: Filter) -> list[int]:
        return filters.states(wanted, list(self.lanes()))

    def _avro(self) -> list[int]:
        """The partitions of which SQLite itself can read the target; before it is asked to."""
        self._numbered = {
            known.number: self._forms.get(known.topic, USUAL) for known, _ in self.checkpoints()
        }
        return [
            number
            for number, form in self._numbered.items()
            if isinstance(form, Kinds) and form.form is AVRO
        ]

    def _target_of(self, number: int, value: bytes, headers: str | None) -> bytes | None:
        """The target topic, or None of what can't be read; SQL calls it."""
        record = Record(0, b"", value, unpack_headers(headers))
        try:
            return self._numbered[number].decode(record).topic.encode()
        except (FormatError, RegistryAwayError):
            return None

    def _is_by_id(self, wanted: Filter) -> bool:
        """Whether fewer have the id or its prefix than are due in the time, or have failed."""
        by_id = Filter(id=wanted.id, topic=wanted.topic, prefix=wanted.prefix)
        rest = wanted._replace(id=None, prefix=None, target=None)
        if wanted.id is not None or rest == Filter(topic=wanted.topic):
            return wanted.id is not None or wanted.prefix is not None
        return wanted.prefix is not None and self.count(by_id) <= self.count(rest)

    def _scan(self, wanted: Filter, *, by_value: bool = False) -> str:
        """Reading all values in the order they lie in the file beats looking up many of them."""
        if wanted.target is None and not by_value:
            return ""
        return " NOT INDEXED" if self.count(wanted._replace(target=None)) > _FEW else ""

    def _pending(
        self, names: dict[int, tuple[str, int]], where: tuple[str, list[object]], scan: str = ""
    ) -> Iterator[Pending]:
        with cache_errors(self._path):
            for row in self._connection.execute(
                _PENDING.format(where=where[0], scan=scan), where[1]
            ):
                number, offset, schedule_id, due_ms, value, headers, record_ms, *attempts = row
                record = schedule_id, due_ms, value, unpack_headers(headers), record_ms
                failed = None if attempts[0] is None else Failed(*attempts)
                topic, partition = names[number]
                form = self._forms.get(topic, USUAL)
                yield Pending(topic, partition, offset, *record, failed, form)


def _these(rows: Sequence[int]) -> tuple[str, list[object]]:
    return "WHERE s.rowid IN (SELECT value FROM json_each(?))", [json.dumps(rows)]
