"""A producer thread with a delivery that only notes what it should send, for its tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from kms.assignment import Assignment, OwnedPartition, Snapshot
from kms.claims import Claims
from kms.delivery import Job, Refused
from kms.due import Due, DueQueue
from kms.formats import FORMATS
from kms.kafka import TopicPartition
from kms.producer import ScheduleProducer
from kms.schedule import Schedule
from tests.scheduler_instance import DEADLINE_SECONDS

AVRO = FORMATS["avro"]
NUMBER = 4  # of the one partition, which is schedules/3


class FakeDelivery:
    """Sends to a list; refuses and fails as it is told to, once each."""

    def __init__(self) -> None:
        self.topics = {"target"}
        self.asked: list[str] = []
        self.sent: list[tuple[list[Job], Snapshot]] = []
        self.before_send: Callable[[], None] = lambda: None
        self.send_errors: list[Exception] = []
        self.exists_errors: list[Exception] = []
        self.refusals: dict[bytes, Exception] = {}  # by schedule id
        self.caused_abort: list[Refused] = []
        self.started = threading.Event()

    def start(self, give_up: Callable[[], bool]) -> None:
        assert not give_up()
        self.started.set()

    def exists(self, topic: str) -> bool:
        self.asked.append(topic)
        if self.exists_errors:
            raise self.exists_errors.pop(0)
        return topic in self.topics

    def send(self, jobs: Sequence[Job], before: Snapshot) -> list[Refused]:
        self.before_send()
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
            Refused(job, self.refusals.pop(job.due.id))  # type: ignore[arg-type]
            for job in jobs
            if job.due.id in self.refusals
        ]


class Instance:
    """A producer and what is around it; rows are taken as soon as the claims allow it."""

    def __init__(self) -> None:
        self.delivery, self.queue, self.assignment = FakeDelivery(), DueQueue(), Assignment()
        self.claims = Claims(self._take)
        self.rows: dict[bytes, tuple[int, int, bytes, bool]] = {}
        where = TopicPartition("schedules", 3)
        self.assignment.partitions[NUMBER] = OwnedPartition(NUMBER, where, "topic-id", 100)
        self.assignment.group_metadata = "metadata"
        self.producer = ScheduleProducer(
            self.delivery, self.queue, self.claims, self.assignment, AVRO
        )
        self.claims.open(NUMBER)

    def put(
        self, schedule_id: bytes, topic: str = "target", offset: int = 7, again: bool = False
    ) -> Schedule:
        """A row that is due, as the scheduler will find it."""
        schedule = Schedule(offset, topic, b"k", b"v" + schedule_id)
        self.rows[schedule_id] = offset, schedule.due_ms, AVRO.encode(schedule), again
        self.claims.stored(NUMBER, (schedule.due_ms, offset))
        return schedule

    def put_all(self, *schedule_ids: bytes) -> None:
        """Rows that come in one batch, if the producer does not run yet."""
        for offset, schedule_id in enumerate(schedule_ids, 7):
            self.put(schedule_id, offset=offset)

    def remove(self, schedule_id: bytes) -> None:
        """Its tombstone is folded."""
        del self.rows[schedule_id]
        self.claims.folded(NUMBER, {schedule_id: None})

    def sent(self) -> list[tuple[bytes, Schedule]]:
        """What was sent so far, by schedule id."""
        return [(job.due.id, job.schedule) for jobs, _ in self.delivery.sent for job in jobs]

    def sent_ids(self) -> list[bytes]:
        return [schedule_id for schedule_id, _ in self.sent()]

    def close(self) -> None:
        self.producer.stop()
        assert self.producer.join(DEADLINE_SECONDS)

    def _take(self) -> None:
        start = self.claims.start_of_search(NUMBER)
        if start is None:
            return
        rows = sorted((due_ms, offset, i) for i, (offset, due_ms, *_) in self.rows.items())
        found = [
            Due(NUMBER, i, offset, due_ms, self.rows[i][2], (), self.rows[i][3])
            for due_ms, offset, i in rows
            if (due_ms, offset) > start
        ]
        if found:
            last = found[-1].due_ms, found[-1].offset
            for due in self.claims.take(NUMBER, found, last):
                self.queue.put(due)
