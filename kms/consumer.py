"""The consumer thread: topic -> fold -> store, and the assignments of this instance."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from kms.assignment import Assignment
from kms.checkpoints import Checkpoints
from kms.claims import Claims
from kms.commits import Commits
from kms.errors import FormatError, RegistryAwayError
from kms.failures import Failures
from kms.figures import LOG_MOVED, READ_TOO_SLOWLY, ConsumerFigures
from kms.formats import Format, Schemas
from kms.gate import Gate
from kms.holds import Holds
from kms.kafka import Admin, Offsets, TopicPartition, TopicReader
from kms.lane_keeper import LaneKeeper
from kms.lookups import Lookups
from kms.partition import FoldingPartition
from kms.repeats import Repeats, more
from kms.schedule import Change, Record, fold, is_stand_in
from kms.settings import Settings
from kms.store import Writer
from kms.worker import Worker

_LIMIT = 5_000  # records a poll
_POLL_SECONDS = 0.1
_SILENCE_SECONDS = 0.005
_DEFER_SECONDS = 1.0
_DEFER_LOOK_SECONDS = 0.01
_MOST_CLAIMS = 100_000  # they take memory until their tombstones are folded
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
        forms: Mapping[str, Format],
        is_busy: Callable[[], bool] = lambda: False,
        schemas: Schemas | None = None,
        gate: Gate | None = None,
    ) -> None:
        """``is_busy`` says whether so much is to be fired that the fold should wait a little."""
        super().__init__("consumer")
        self._is_busy = is_busy
        self.figures = ConsumerFigures()
        self._settings = settings
        self._writer = writer
        self._claims = claims
        self._assignment = assignment
        self._failures = failures
        self._lanes = LaneKeeper(writer, claims, gate)
        self._checkpoints = Checkpoints(
            *(admin, offsets, writer, forms, self.stopping),
            waits=self.heartbeat.beat,
            rebuilds=self.figures.add_rebuild,
        )
        self._lookups = Lookups(offsets, self.stopping)
        self._owned: dict[TopicPartition, FoldingPartition] = {}
        self._reader = TopicReader(settings, self)
        self._holds = Holds(self._reader)
        self._schemas = schemas
        self._too_slow: set[TopicPartition] = set()  # read for longer than tombstones are kept
        self._commits = Commits(writer, claims, is_busy)
        self._assigned_at: float | None = None
        self._repeats = Repeats()

    def run(self) -> None:
        try:
            self._reader.subscribe(self._settings.topics)
            while not self.is_over():
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
        self._holds.forget(partitions)
        offsets = self._take_over(partitions)
        self.figures.rebalances += 1
        self._assigned_at = time.monotonic()
        if partitions:
            _log.info("Assigned: %s.", ", ".join(map(str, sorted(partitions))))
        return offsets

    def revoked(self, partitions: list[TopicPartition]) -> None:
        """Give partitions up: no new firing, the running transaction ends, rows stay."""
        self._give_up(partitions, self._settings.kms_transaction_timeout_ms / 1000)
        self._assigned_at = self._assigned_at and time.monotonic()

    def lost(self, partitions: list[TopicPartition]) -> None:
        """Another instance owns them already; the coordinator refuses what still runs."""
        self._give_up(partitions, 0.0)
        self._assigned_at = None
        _log.warning(
            "Lost, for the group went on without this instance: %s.",
            ", ".join(map(str, sorted(partitions))),
        )

    def _turn(self) -> None:
        self._let_firing_go_first()
        polled = self._reader.poll(
            _LIMIT, _SILENCE_SECONDS if self._commits.waiting else _POLL_SECONDS
        )
        self._assignment.group_metadata = self._reader.group_metadata
        for where, records in polled.records.items():
            part = self._owned.get(where)
            if part is not None and where not in self._holds:
                self._fold(part, records)
        for where, offset in polled.ends.items():
            if where in self._owned and where not in self._holds:
                self._owned[where].reached(offset)
        for where in polled.gone:
            self._start_over(where, LOG_MOVED, "its offset is not in the log any more")
        for part in self._holds.turn(self._owned):
            self._stop_firing(part)
        self._commits.finish(wait=False)
        self._note()  # here the writer is free at times, however much there is to load
        if self._commits.is_due(more=polled.count >= _LIMIT, silence=not polled.count):
            self._commit(wait=False)
        self._lookups.turn(self._owned.values())
        self._open_folded()
        self._count()

    def _let_firing_go_first(self) -> None:
        # Most of what would be folded now are the tombstones of what is being fired, and each
        # takes as long of the interpreter lock as a firing does. They can wait, for a while.
        deadline = time.monotonic() + _DEFER_SECONDS
        while (
            self._is_busy()
            and not self._lanes.are_full()
            and (self._commits.runs() or self._claims.count() < _MOST_CLAIMS)
            and time.monotonic() < deadline
            and not self.stopping.wait(_DEFER_LOOK_SECONDS)
        ):
            pass

    def _fold(self, part: FoldingPartition, records: Iterable[Record]) -> None:
        count = cancelled = 0
        for record in records:
            if record.offset < part.next_offset:
                continue  # delivered again; the fold has it
            try:
                change = fold(part.rows, record, part.topic_id, part.due_of)
            except RegistryAwayError:
                self._holds.hold(part.where, record)
                break
            count += 1
            part.next_offset = record.offset + 1
            cancelled += change is Change.CANCELLED
            if change is Change.UNREADABLE or is_stand_in(record.id, record.offset):
                self._count_rejected(part, record)
        self._commits.waiting += count
        self.figures.received[part.where.topic] += count
        self.figures.cancelled[part.where.topic] += cancelled

    def _count_rejected(self, part: FoldingPartition, record: Record) -> None:
        without_id = is_stand_in(record.id, record.offset)
        reason = "null-id" if without_id else FormatError.reason
        if not without_id:
            try:
                part.due_of(record)
            except FormatError as error:
                reason = error.reason
            except RegistryAwayError:
                pass  # it has just been given up
        self.figures.rejected[part.where.topic, reason] += 1
        if without_id and record.value is None:
            unsaid = self._repeats.unsaid(part.where)
            if unsaid is not None:
                _log.error(
                    "The record at %s offset %d has neither key nor value: it cancels nothing.%s",
                    part.where,
                    record.offset,
                    more(unsaid),
                )

    def _commit(self, *, wait: bool = True) -> None:
        self._commits.commit(self._owned.values(), wait=wait)

    def _note(self) -> None:
        if self._commits.runs():
            return  # the writer is busy
        self._lanes.turn()
        schemas = self._schemas and self._schemas.take_fresh()
        if schemas:
            self._writer.remember_schemas(self._settings.kms_schema_registry_url or "", schemas)
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
            text = "tombstones may be gone since it was read (delete.retention.ms)"
            self._start_over(where, READ_TOO_SLOWLY, text)
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
        self._commits.finish()  # the writer must be free
        found = self._checkpoints.open(partitions, rebuild=rebuild)
        self._assignment.total = self._checkpoints.total
        for where, part in found.items():
            self._owned[where] = part
            self._assignment.partitions[part.number] = part.owned
        self._lookups.find_targets(found.values())
        return {where: part.next_offset for where, part in found.items()}

    def _start_over(self, where: TopicPartition, reason: str, text: str) -> None:
        part = self._owned.get(where)
        if part is None:
            return
        _log.warning(
            "%s at offset %d: the cache is rebuilt from the topic: %s.",
            where,
            part.next_offset,
            text,
        )
        self.figures.add_rebuild(reason)
        self._give_up([where], self._settings.kms_transaction_timeout_ms / 1000)
        self._holds.forget([where])
        self._reader.read_from(self._take_over([where], rebuild=True))

    def _stop_firing(self, part: FoldingPartition) -> None:
        """As if it had been revoked and came back: it fires again once it is folded to its end."""
        self._give_up([part.where], self._settings.kms_transaction_timeout_ms / 1000)
        self._take_over([part.where])

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
        self.figures.held, self.figures.held_at = len(self._holds), self._holds.places()
        self.figures.caught_up = len(self._owned) - len(loading)
        self.figures.loaded = sum(part.next_offset - part.started_at for part in loading)
        self.figures.left_to_load = sum(map(FoldingPartition.left, loading))
        self.figures.owned = {part.number: part.where for part in self._owned.values()}
        self.figures.firing = [part.number for part in self._owned.values() if part.ready]
        self.figures.assigned_at = self._assigned_at  # last: who reads it may trust the others
