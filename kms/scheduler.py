"""The only apscheduler: it owns *when*. Job store, executor and scheduler on the cache.

APScheduler 3.11 waits for the next due time and asks the job store for what is due. All that
one look finds is one job, and the executor only hands it over: a job for each schedule took
15 us of the interpreter lock (measured), as long as all else that the lock is held for.
"""

# APScheduler publishes no types: what derives from it derives from Any.
# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job
from apscheduler.jobstores.base import BaseJobStore, JobLookupError
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.base import BaseTrigger

from kms import times
from kms.claims import Claims
from kms.due import Due, DueQueue
from kms.errors import AbortTransactionError, FormatError, RegistryAwayError
from kms.failed_search import LOOK_SECONDS, FailedSearch
from kms.gate import Gate
from kms.lane_search import LaneSearch
from kms.schedule import Schedule
from kms.store import Filter, Reader
from kms.worker import Worker

Decode = Callable[[Due], Schedule]

BATCH = 5_000  # rows looked at in one go, a partition
_LONGEST_WAIT = timedelta(seconds=5)  # clocks jump, and the heartbeat is looked at
_EPOCH = datetime.fromtimestamp(0, UTC)
_PAUSE_SECONDS = 0.002


class DueScheduler(Worker):
    """The scheduler thread: hands what is due to ``queue``, of the partitions that are open."""

    def __init__(
        self,
        reader: Reader,
        claims: Claims,
        queue: DueQueue,
        decode: Decode,
        gate: Gate | None = None,
    ) -> None:
        super().__init__("scheduler")
        self._scheduler = BlockingScheduler(
            timezone=UTC,
            jobstores={"default": CacheJobStore(reader, claims, queue, self, gate)},
            executors={"default": HandOver(queue, decode)},
        )

    def wakeup(self) -> None:
        """Look again now: rows or partitions were added."""
        if self._scheduler.running:
            self._scheduler.wakeup()

    def run(self) -> None:
        self._scheduler.start()  # returns after shutdown, which the job store sees to

    def stop(self) -> None:
        super().stop()
        self.wakeup()

    def jobs(self) -> list[Job]:
        """Every pending schedule as APScheduler sees it, soonest first."""
        found: list[Job] = self._scheduler.get_jobs()
        return found


class CacheJobStore(BaseJobStore):
    """APScheduler's view of the cache: reads rows, never writes them.

    ``remove_job`` means *handed over*, not *deleted*: the row goes when its tombstone is folded.
    Adding and changing is done through the schedule topic and nothing else.
    """

    def __init__(
        self,
        reader: Reader,
        claims: Claims,
        queue: DueQueue,
        worker: Worker,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        self._reader = reader
        self._claims = claims
        self._queue = queue
        self._worker = worker
        self._gate = gate or Gate()
        self._lanes = LaneSearch(reader, claims, self._gate)
        self._failed = FailedSearch(reader)

    def get_due_jobs(self, now: datetime) -> list[Job]:
        """Claim what is due, in order of due time; waits while the queue is full."""
        self._worker.heartbeat.beat()
        while self._queue.full() or self._gate.is_full():
            if self._worker.stopping.wait(_PAUSE_SECONDS):
                break
            self._worker.heartbeat.beat()
        if self._worker.stopping.is_set():
            # Here, in its own thread and between two batches: shut down from another one in the
            # middle of a batch, APScheduler would look in vain for the jobs it removes.
            self._scheduler.shutdown(wait=False)
            return []
        # APScheduler would log an error raised here and try again for ever.
        return self._worker.guarded(lambda: self._claim_due(_epoch_ms(now))) or []

    def get_next_run_time(self) -> datetime:
        """When to look next: at the next due time, in five seconds at the latest."""
        latest = datetime.now(UTC) + _LONGEST_WAIT
        due_ms = self._worker.guarded(self._next_due_ms)
        return latest if due_ms is None else min(_moment(due_ms), latest)

    def lookup_job(self, job_id: str) -> Job | None:
        """The pending schedule with this id; None where there is none, or more than one topic's."""
        found = list(self._reader.pending(Filter(id=_bytes(job_id)), limit=2))
        return ScheduleJob(self._scheduler, job_id, found[0].due_ms) if len(found) == 1 else None

    def get_all_jobs(self) -> list[Job]:
        """Every pending schedule, soonest first; reads the whole cache."""
        return [
            ScheduleJob(self._scheduler, _text(found.id), found.due_ms)
            for found in self._reader.pending(Filter())
        ]

    def remove_job(self, job_id: str) -> None:
        """Handed over; nothing to do here."""

    def add_job(self, job: Job) -> None:
        """Not here: write a record to the schedule topic."""
        raise NotImplementedError("schedules are added through the schedule topic")

    def update_job(self, job: Job) -> None:
        """Not here: write a record to the schedule topic."""
        raise JobLookupError(job.id)

    def remove_all_jobs(self) -> None:
        """Not here: write tombstones to the schedule topic."""
        raise NotImplementedError("schedules are cancelled through the schedule topic")

    def _claim_due(self, now_ms: int) -> list[Job]:
        if not self._gate.pauses.known:
            return []  # it wakes this up
        taken = self._lanes.take(now_ms, BATCH)
        all_paused = self._gate.pauses.all_are()
        for number in self._failed.begin(self._claims.open_numbers()):
            start = self._claims.start_of_search(number)
            if start is None:
                continue
            overtaken = self._reader.overtaken(number, BATCH)
            found = [] if all_paused else self._reader.due(number, start, now_ms, BATCH)
            end = (found[-1].due_ms, found[-1].offset) if found else start
            again = [] if all_paused else self._failed.find(number, now_ms)
            taken += self._claims.take(number, overtaken + found + again, end)
        taken.sort(key=lambda due: due.due_ms)  # stable: a partition's own order stays
        return [DueJob(self._scheduler, taken)] if taken else []

    def _next_due_ms(self) -> int | None:
        if not self._gate.pauses.known or self._gate.pauses.all_are():
            return None
        found = self._lanes.next_ms()
        # What was just taken is still written as due again: no sooner than the next look.
        earliest_ms = times.now_ms() + int(LOOK_SECONDS * 1000)
        for number in self._claims.open_numbers():
            start = self._claims.next_search(number)
            due_ms = None if start is None else self._reader.next_due_ms(number, start)
            if due_ms is not None:
                found.append(due_ms)
            again_ms = self._reader.next_again_ms(number)
            if again_ms is not None:
                found.append(max(again_ms, earliest_ms))
        return min(found, default=None)


class ScheduleJob(Job):
    """A pending schedule as a job, without APScheduler's checks of callables: it has none.

    ``misfire_grace_time`` None: late is better than never.
    """

    __slots__ = ()

    def __init__(self, scheduler: Any, job_id: str, due_ms: int) -> None:
        self._scheduler = scheduler
        self._jobstore_alias = "default"
        self.id = self.name = job_id
        self.next_run_time = _moment(due_ms)
        self.trigger = _ONCE
        self.executor = "default"
        self.coalesce = True
        self.misfire_grace_time = None
        self.max_instances = 1

    def _get_run_times(self, _now: datetime) -> list[datetime]:
        return [self.next_run_time]


class DueJob(ScheduleJob):
    """What one look found due, soonest first; named after the first, and due when that is."""

    __slots__ = ("batch",)

    def __init__(self, scheduler: Any, batch: Sequence[Due]) -> None:
        super().__init__(scheduler, _text(batch[0].id), batch[0].due_ms)
        self.batch = batch


class HandOver(BaseExecutor):
    """APScheduler's executor: decodes claimed schedules and hands them to the queue.

    It decodes while the producer waits for Kafka, which else had to do it in between.
    """

    def __init__(self, queue: DueQueue, decode: Decode) -> None:
        super().__init__()
        self._queue = queue
        self._decode = decode

    def submit_job(self, job: DueJob, run_times: list[datetime]) -> None:  # noqa: ARG002
        """Put the job's schedules on the queue."""
        for due in job.batch:
            # Otherwise the producer finds out too, and says so.
            with suppress(FormatError, RegistryAwayError, AbortTransactionError):
                due.schedule = self._decode(due)
        self._queue.put(job.batch)

    def _do_submit_job(self, job: DueJob, run_times: list[datetime]) -> None:
        self.submit_job(job, run_times)


class _Once(BaseTrigger):
    def get_next_fire_time(self, _previous: datetime | None, _now: datetime) -> None:
        return None


_ONCE = _Once()


def _epoch_ms(moment: datetime) -> int:
    # In whole numbers, rounded down: a float could round a due time up and fire a bit early.
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(due_ms: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=due_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if due_ms > 0 else _EPOCH


def _text(schedule_id: bytes) -> str:
    return schedule_id.decode(errors="surrogateescape")  # so that it can be turned back


def _bytes(job_id: str) -> bytes:
    return job_id.encode(errors="surrogateescape")
