"""The consumer thread: topic -> fold -> store, and the assignments of this instance."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

from kms.assignment import Assignment
from kms.checkpoints import Checkpoints
from kms.claims import Claims
from kms.failures import Failures
from kms.figures import ConsumerFigures
from kms.formats import Format
from kms.kafka import Admin, Offsets, Polled, Received, TopicPartition, TopicReader
from kms.lookups import Lookups
from kms.partition import FoldingPartition
from kms.schedule import Change, Record, fold, stand_in_id
from kms.settings import Settings
from kms.store import Writer
from kms.worker import Worker

_LIMIT = 5_000  # records a poll
_POLL_SECONDS = 0.1
_COMMIT_RECORDS = 20_000  # large SQLite transactions are faster (design section 5)
_COMMIT_SECONDS = 0.25
_REVOKE_GRACE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class ScheduleConsumer(Worker):
    """Folds the schedule topics into the store and says which partitions may fire.

    The only thread that writes the store, and the only one that talks to the consumer group.
    """

    def __init__(
        self,
        settings: Settings,
        admin: Admin,
        offsets: Offsets,
        writer: Writer,
        claims: Claims,
        assignment: Assignment,
        failures: Failures,
        form: Format,
    ) -> None:
        super().__init__("consumer")
        self.figures = ConsumerFigures()
        self._settings = settings
        self._writer = writer
        self._claims = claims
        self._assignment = assignment
        self._failures = failures
        self._due_of = form.due_of
        self._checkpoints = Checkpoints(admin, offsets, writer, self.stopping)
        self._lookups = Lookups(offsets, self.stopping)
        self._owned: dict[TopicPartition, FoldingPartition] = {}
        self._reader = TopicReader(settings, self)
        self._too_slow: set[TopicPartition] = set()  # read for longer than tombstones are kept
        self._uncommitted = 0
        self._committed_at = time.monotonic()

    def run(self) -> None:
        try:
            self._reader.subscribe(self._settings.schedule_topics)
            while not self.stopping.is_set():
                self._turn()
        finally:
            try:
                # Leaving the group revokes what is owned, which commits what is folded.
                self._reader.close()
            finally:
                self._writer.close()
                self._lookups.close()

    def assigned(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Take partitions over: from their checkpoint, if it holds, else from the beginning."""
        offsets = self._take_over(partitions)
        if partitions:
            _log.info("Assigned: %s.", ", ".join(map(str, sorted(partitions))))
        return offsets

    def revoked(self, partitions: list[TopicPartition]) -> None:
        """Give partitions up: no new firing, the running transaction ends, rows stay."""
        self._give_up(partitions, self._settings.kms_transaction_timeout_ms / 1000)

    def lost(self, partitions: list[TopicPartition]) -> None:
        """Another instance owns them already; the coordinator refuses what still runs."""
        self._give_up(partitions, 0.0)
        _log.warning(
            "Lost, for the group went on without this instance: %s.",
            ", ".join(map(str, sorted(partitions))),
        )

    def _turn(self) -> None:
        polled = self._reader.poll(_LIMIT, _POLL_SECONDS)
        self._assignment.group_metadata = self._reader.group_metadata
        for where, records in polled.records.items():
            part = self._owned.get(where)
            if part is not None:
                self._fold(part, records)
        for where, offset in polled.ends.items():
            if where in self._owned:
                self._owned[where].reached(offset)
        for where in polled.gone:
            self._start_over(where, "its offset is not in the log any more")
        if self._commit_is_due(polled):
            self._commit()
        self._note_failures()
        self._lookups.turn(self._owned.values())
        self._open_folded()
        self._count()

    def _fold(self, part: FoldingPartition, records: Iterable[Received]) -> None:
        count = cancelled = unreadable = 0
        for record in records:
            if record.offset < part.next_offset:
                continue  # delivered again; the fold has it
            count += 1
            part.next_offset = record.offset + 1
            has_id = record.id is not None
            if not has_id:
                self._count_null_id(part, record)
                record = record._replace(id=stand_in_id(record.offset))
            change = fold(part.rows, Record._make(record), part.topic_id, self._due_of)
            cancelled += change is Change.CANCELLED
            unreadable += change is Change.UNREADABLE and has_id
        self._uncommitted += count
        topic = part.where.topic
        self.figures.received[topic] += count
        self.figures.cancelled[topic] += cancelled
        if unreadable:
            self.figures.rejected[topic, "undecodable"] += unreadable

    def _count_null_id(self, part: FoldingPartition, record: Received) -> None:
        self.figures.rejected[part.where.topic, "null-id"] += 1
        if record.value is None:
            _log.error(
                "The record at %s offset %d has neither key nor value: it cancels nothing.",
                part.where,
                record.offset,
            )

    def _commit_is_due(self, polled: Polled) -> bool:
        # While more is waiting, larger transactions; else at once, for it may be due now.
        return (
            polled.count < _LIMIT
            or self._uncommitted >= _COMMIT_RECORDS
            or time.monotonic() - self._committed_at >= _COMMIT_SECONDS
        )

    def _commit(self) -> None:
        parts = [part for part in self._owned.values() if part.is_dirty()]
        self._committed_at = time.monotonic()
        self._uncommitted = 0
        if not parts:
            return
        folded = self._writer.commit(
            [part.rows for part in parts],
            {part.number: part.next_offset for part in parts},
            {part.number: part.seen_ms for part in parts},
        )
        for number, change in folded.items():
            # In this order: a claim that is void now must not hide the row that replaced it.
            self._claims.folded(number, change.offsets)
            if change.earliest is not None:
                self._claims.stored(number, change.earliest)
        for part in parts:
            part.committed()  # last: Assignment.snapshot promises claims that are not older

    def _note_failures(self) -> None:
        found = self._failures.take()
        if found:
            self._writer.note(found)
            self._claims.release(failure.due for failure in found)
        if self._writer.was_changed() or found:
            self._claims.changed()  # another attempt may be due sooner than the scheduler knows

    def _open_folded(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        for where, part in list(self._owned.items()):
            if part.ready or not part.is_folded():
                continue
            if part.is_stale(now_ms) and self._read_again(where):
                continue
            if part.is_dirty():
                self._commit()
            part.ready = True
            self._claims.open(part.number)
            self._too_slow.discard(where)
            _log.info("Caught up: %s at offset %d.", where, part.next_offset)

    def _read_again(self, where: TopicPartition) -> bool:
        """A fold that took longer than tombstones are kept may have missed some: once more.

        False if it took as long again: it always will, and late is better than never.
        """
        if where not in self._too_slow:
            self._too_slow.add(where)
            self._start_over(
                where, "tombstones may be gone since it was read (delete.retention.ms)"
            )
            return True
        _log.error(
            "%s: reading it takes longer than the topic's delete.retention.ms: what was cancelled "
            "or fired meanwhile may fire again. Raise that setting.",
            where,
        )
        return False

    def _take_over(
        self, partitions: list[TopicPartition], *, rebuild: bool = False
    ) -> dict[TopicPartition, int]:
        found = self._checkpoints.open(partitions, rebuild=rebuild)
        for where, part in found.items():
            self._owned[where] = part
            self._assignment.partitions[part.number] = part.owned
        self._lookups.find_targets(found.values())
        return {where: part.next_offset for where, part in found.items()}

    def _start_over(self, where: TopicPartition, reason: str) -> None:
        part = self._owned.get(where)
        if part is None:
            return
        _log.warning(
            "%s at offset %d: the cache is rebuilt from the topic: %s.",
            where,
            part.next_offset,
            reason,
        )
        self._give_up([where], self._settings.kms_transaction_timeout_ms / 1000)
        self._reader.read_from(self._take_over([where], rebuild=True))

    def _give_up(self, partitions: list[TopicPartition], wait_seconds: float) -> None:
        owned = [self._owned[where] for where in partitions if where in self._owned]
        numbers = [part.number for part in owned]
        timeout_seconds = wait_seconds and wait_seconds + _REVOKE_GRACE_SECONDS
        if not self._claims.close(numbers, timeout_seconds) and wait_seconds:
            _log.warning("A transaction outlived its partitions; its offsets will be refused.")
        self._commit()
        for part in owned:
            del self._owned[part.where]
            self._assignment.partitions.pop(part.number, None)

    def _count(self) -> None:
        loading = [part for part in self._owned.values() if not part.ready]
        self.figures.assigned = len(self._owned)
        self.figures.caught_up = len(self._owned) - len(loading)
        self.figures.loaded = sum(part.next_offset - part.started_at for part in loading)
        self.figures.left_to_load = sum(map(FoldingPartition.left, loading))
