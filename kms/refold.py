"""Folds schedule topics from their first record on, into a cache that nobody else uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from kms.errors import FormatError, RegistryAwayError, RetriableKafkaError
from kms.formats import USUAL, Format
from kms.kafka import Admin, Offsets, Tail, TailRecord, TopicPartition
from kms.schedule import Change, Record, fold, stand_in_id
from kms.settings import Settings
from kms.store import CacheFile, PartitionRows, Writer

_COMMIT_RECORDS = 50_000
_POLL_SECONDS = 0.1
# Without a record, beyond what an open transaction may hold up.
_PATIENCE_SECONDS = 15.0


class Told(NamedTuple):
    """What a record did to the schedule it is of; ``due_ms`` where it wrote one.

    ``away``: what it wrote is not known, for its schema could not be had.
    """

    where: TopicPartition
    offset: int
    timestamp_ms: int
    change: Change
    due_ms: int | None
    away: bool = False


class Refold:
    """One reading of some topics into an empty cache at ``path``; ``run`` does it.

    It is the same fold as the service's, of committed records up to the end of the log as it is
    at the start, and needs neither the consumer group nor its rights. ``history`` has what every
    record that is still there did to ``schedule_id``. What lacks its schema is folded all the
    same, as due at 0: it shall be seen.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        path: Path,
        forms: Mapping[str, Format],
        schedule_id: bytes | None = None,
    ) -> None:
        self.history: list[Told] = []
        self._settings = settings
        self._forms = forms
        self._topics = list(topics)
        self._path = path
        self._id = schedule_id
        self._rows: dict[TopicPartition, PartitionRows] = {}
        self._topic_ids: dict[str, str] = {}
        self._next: dict[TopicPartition, int] = {}

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Read and fold; ``progress`` is told how many offsets are read, and of how many.

        Raises KafkaError; a topic that is not there, or a transaction that stays open, is a
        RetriableKafkaError.
        """
        with (
            closing(CacheFile(self._path)) as file,
            closing(Writer(file)) as writer,
            closing(Tail(self._settings, self._topics)) as tail,
            closing(Offsets(self._settings)) as offsets,
        ):
            starts = offsets.starts(tail.partitions)
            self._begin(writer, starts)
            self._read(writer, tail, starts, offsets.high_watermarks(tail.partitions), progress)

    def _begin(self, writer: Writer, starts: dict[TopicPartition, int]) -> None:
        admin = Admin(self._settings)
        cluster_id = admin.cluster_id()
        for name, info in admin.topics(self._topics).items():
            self._topic_ids[name] = "" if info is None else info.id
        for where, start in starts.items():
            topic_id = self._topic_ids[where.topic]
            found = writer.restart(*where, topic_id, cluster_id, start)
            self._rows[where] = writer.rows(found.number)
            self._next[where] = start

    def _read(
        self,
        writer: Writer,
        tail: Tail,
        starts: dict[TopicPartition, int],
        ends: dict[TopicPartition, int],
        progress: Callable[[int, int], None],
    ) -> None:
        total = sum(end - starts[where] for where, end in ends.items())
        patience_seconds = self._settings.kms_transaction_timeout_ms / 1000 + _PATIENCE_SECONDS
        came_at, uncommitted = time.monotonic(), 0
        # Reported ends, up to the high watermark: transaction markers are never delivered, and
        # what lies behind an open transaction is not yet (design section 4).
        while any(tail.ends.get(where, -1) < end for where, end in ends.items()):
            records = tail.poll(_POLL_SECONDS)
            for record in records:
                self._fold(record)
            for where, end in tail.ends.items():
                self._next[where] = max(self._next[where], end)
            uncommitted += len(records)
            if uncommitted >= _COMMIT_RECORDS:
                self._commit(writer)
                uncommitted = 0
            if records:
                came_at = time.monotonic()
            elif time.monotonic() - came_at > patience_seconds:
                raise RetriableKafkaError(
                    f"No record came for {patience_seconds:.0f} s, and the end is not reached: a "
                    "transaction is open, or Kafka is out of reach. Try again later."
                )
            done = sum(min(self._next[where], end) - starts[where] for where, end in ends.items())
            progress(done, total)
        self._commit(writer)

    def _commit(self, writer: Writer) -> None:
        numbers = {rows.number: self._next[where] for where, rows in self._rows.items()}
        writer.commit(list(self._rows.values()), numbers, {})

    def _fold(self, found: TailRecord) -> None:
        schedule_id = stand_in_id(found.offset) if found.key is None else found.key
        record = Record(found.offset, schedule_id, found.value, found.headers, found.timestamp_ms)
        rows, form = self._rows[found.where], self._forms.get(found.where.topic, USUAL)
        away = False

        def due_of(record: Record) -> int:
            nonlocal away
            try:
                return form.due_of(record)
            except RegistryAwayError as error:
                away = True
                raise FormatError(str(error)) from error

        change = fold(rows, record, self._topic_ids[found.where.topic], due_of)
        self._next[found.where] = found.offset + 1
        if schedule_id == self._id:
            row = rows.get(schedule_id)
            due_ms = row.due_ms if change is Change.SCHEDULED and row is not None else None
            told = Told(found.where, found.offset, found.timestamp_ms, change, due_ms, away)
            self.history.append(told)
