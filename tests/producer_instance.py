"""A producer thread with a delivery that only notes what it should send, for its tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kms import times
from kms.assignment import Assignment, OwnedPartition, Snapshot
from kms.claims import Claims
from kms.delivery import Refused
from kms.due import Due, DueQueue, Tried
from kms.errors import AbortTransactionError, OvertakenError, UndeliverableError
from kms.failures import Failure, Failures
from kms.formats import AVRO
from kms.kafka import TopicPartition
from kms.messages import Job
from kms.producer import ScheduleProducer
from kms.schedule import Schedule
from kms.settings import Settings
from kms.times import Duration
from tests.scheduler_instance import DEADLINE_SECONDS

NUMBER = 4  # of the one partition, which is schedules/3


class FakeDelivery:
    """Sends to a list; refuses and fails as it is told to, once each."""

    def __init__(self) -> None:
        self.topics = {"target"}
        self.asked: list[str] = []
        self.sent: list[tuple[list[Job], Snapshot]] = []
        self.before_send: Callable[[], None] = lambda: None
        self.send_errors: list[Exception] = []
        self.forbidden: set[str] = set()  # topics: what is sent to one fails as a whole
        self.exists_errors: list[Exception] = []
        self.overtaken: set[bytes] = set()  # ids: a user came in between, once
        self.tried: list[list[bytes]] = []  # the ids of each call
        self.together = False  # refusals come for a batch as a whole
        self.refusals: dict[bytes, UndeliverableError] = {}  # by schedule id
        self.caused_abort: list[Refused] = []
        self.started = threading.Event()

    def start(self, give_up: Callable[[], bool]) -> None:
        assert not give_up()
        self.started.set()

    def exists(self, topic: str) -> bool:
        self.asked.append(topic)
        if self.exists_errors:
            raise self.exists_errors.pop(0)
        if "/" in topic:
            raise UndeliverableError("no name of a topic", "illegal-topic", permanent=True)
        return topic in self.topics

    def send(self, jobs: Sequence[Job], before: Snapshot) -> list[Refused]:
        self.before_send()
        self.tried.append([job.due.id for job in jobs])
        if self.forbidden & {job.schedule.topic for job in jobs}:
            cause = UndeliverableError("Kafka lets nothing be added", "not-authorised")
            raise AbortTransactionError(str(cause)) from cause
        overtaken = [job.due for job in jobs if job.due.id in self.overtaken]
        if overtaken:
            self.overtaken.clear()
            raise AbortTransactionError("overtaken") from OvertakenError("overtaken", overtaken)
        if self.send_errors:
            error = self.send_errors.pop(0)
            self.caused_abort = self._refused(jobs)
            raise error
        refused = self._refused(jobs)
        unsent = {id(it.job) for it in refused}
        self.sent.append(([job for job in jobs if id(job) not in unsent], before))
        return refused

    def refused(self) -> list[Refused]:
        found, self.caused_abort = self.caused_abort, []
        return found

    def _refused(self, jobs: Sequence[Job]) -> list[Refused]:
        return [
            Refused(job, self.refusals.pop(job.due.id), not self.together or len(jobs) == 1)
            for job in jobs
            if job.due.id in self.refusals
        ]


class Row(NamedTuple):
    """As the store has it; ``next_ms`` is when it is to be taken."""

    offset: int
    due_ms: int
    value: bytes
    again: bool
    tried: Tried | None = None
    next_ms: int = 0


class Instance:
    """A producer and what is around it; rows are taken as soon as the claims allow it."""

    def __init__(self, **settings: Any) -> None:
        self.delivery, self.queue, self.assignment = FakeDelivery(), DueQueue(), Assignment()
        self._lock = threading.RLock()  # around the rows, and one search at a time
        self.claims = Claims(self._take)
        self.rows: dict[bytes, Row] = {}
        self.failures = Failures()
        self.noted: list[Failure] = []
        where = TopicPartition("schedules", 3)
        self.assignment.partitions[NUMBER] = OwnedPartition(NUMBER, where, "topic-id", 100, AVRO)
        self.assignment.group_metadata = "metadata"
        pauses = {"kms_retry_pause": Duration(5), "kms_retry_longest_pause": Duration(10)}
        self.producer = ScheduleProducer(
            Settings(**(pauses | settings)),
            self.delivery,
            self.queue,
            self.claims,
            self.assignment,
            self.failures,
        )
        self.claims.open(NUMBER)
        self._closing = threading.Event()
        self._noting = threading.Thread(target=self._note)
        self._noting.start()

    def put(
        self, schedule_id: bytes, topic: str = "target", offset: int = 7, again: bool = False
    ) -> Schedule:
        """A row that is due, as the scheduler will find it."""
        schedule = Schedule(offset, topic, b"k", b"v" + schedule_id)
        self.put_raw(schedule_id, AVRO.encode_value(schedule), offset, again)
        return schedule

    def put_raw(
        self, schedule_id: bytes, value: bytes, offset: int = 7, again: bool = False
    ) -> None:
        """A row of any bytes."""
        with self._lock:
            self.rows[schedule_id] = Row(offset, offset, value, again)
        self.claims.stored(NUMBER, (offset, offset))

    def put_all(self, *schedule_ids: bytes) -> None:
        """Rows that come in one batch, if the producer does not run yet."""
        for offset, schedule_id in enumerate(schedule_ids, 7):
            self.put(schedule_id, offset=offset)

    def remove(self, schedule_id: bytes) -> None:
        """Its tombstone is folded."""
        with self._lock:
            del self.rows[schedule_id]
        self.claims.folded(NUMBER, {schedule_id: None})

    def sent(self) -> list[tuple[bytes, Schedule]]:
        """What was sent so far, by schedule id."""
        return [(job.due.id, job.schedule) for jobs, _ in self.delivery.sent for job in jobs]

    def sent_ids(self) -> list[bytes]:
        return [schedule_id for schedule_id, _ in self.sent()]

    def close(self) -> None:
        self._closing.set()
        self._noting.join()
        self.producer.stop()
        assert self.producer.join(DEADLINE_SECONDS)

    def _note(self) -> None:
        """What the consumer thread does with failures; rows are taken again when it is time."""
        while not self._closing.wait(0.001):
            for failure in self.failures.take():
                due, attempt, since_ms, next_ms, reason, _ = failure
                with self._lock:
                    row = self.rows.get(due.id)
                    if row is not None and row.offset == due.offset:
                        tried = Tried(attempt, since_ms, reason)
                        self.rows[due.id] = row._replace(tried=tried, next_ms=next_ms)
                        self.noted.append(failure)
                self.claims.release([due])
            self._take()

    def _take(self) -> None:
        with self._lock:
            start = self.claims.start_of_search(NUMBER)
            if start is None:
                return
            now_ms = times.now_ms()
            rows = sorted((row.due_ms, row.offset, i) for i, row in self.rows.items())
            found = [
                Due(NUMBER, i, offset, due_ms, row.value, (), row.again, row.tried)
                for due_ms, offset, i in rows
                if (row := self.rows[i]).next_ms <= now_ms
                and ((due_ms, offset) > start or row.tried is not None)
            ]
            fresh = [(due.due_ms, due.offset) for due in found if due.tried is None]
            for due in self.claims.take(NUMBER, found, max(fresh, default=None)):
                self.queue.put([due])
