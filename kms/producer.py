"""The producer thread: due -> transaction. Fires batches, sets aside what can't be fired."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Sequence

from kms.assignment import Assignment
from kms.claims import Claims
from kms.delivery import Delivery, Job, Refused
from kms.due import Due, DueQueue
from kms.errors import AbortTransactionError, RetriableKafkaError, UndeliverableError
from kms.figures import ProducerFigures
from kms.formats import Format
from kms.waiting import Waiting
from kms.worker import Worker

BATCH = 5_000  # schedules in one transaction at most
_POLL_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 1.0

_log = logging.getLogger(__name__)


class ScheduleProducer(Worker):
    """Takes what is due from the queue and fires it, as many at a time as have gathered."""

    def __init__(
        self,
        delivery: Delivery,
        queue: DueQueue,
        claims: Claims,
        assignment: Assignment,
        form: Format,
    ) -> None:
        super().__init__("producer")
        self.figures = ProducerFigures()
        self._delivery = delivery
        self._queue = queue
        self._claims = claims
        self._assignment = assignment
        self._decode = form.decode
        self._topics: set[str] = set()  # targets that are known to exist
        self._waiting = Waiting()
        self._aborts = 0

    def run(self) -> None:
        try:
            self._delivery.start(self.stopping.is_set)
        except RetriableKafkaError:
            if not self.stopping.is_set():
                raise
        while not self.stopping.is_set():
            batch = self._queue.take(BATCH, _POLL_SECONDS)
            again = self._waiting.over()
            if again:
                self._claims.give_back(again)
            # Apart: a copy that must not be written aborts everything beside it.
            for part in (
                [it for it in batch if it.republish],
                [it for it in batch if not it.republish],
            ):
                if part:
                    self._fire(part)

    def _fire(self, batch: Sequence[Due]) -> None:
        before = self._assignment.snapshot()
        try:
            jobs = [Job(due, self._decode(due.value)) for due in self._claims.begin(batch)]
            try:
                jobs = self._fireable(jobs)
                refused = self._delivery.send(jobs, before) if jobs else []
            except (AbortTransactionError, RetriableKafkaError) as error:
                self._give_back(jobs, error)
                return
        finally:
            self._claims.end()  # whatever happened: somebody may be waiting for it
        self._aborts = 0
        self._set_aside(refused)
        unfired = {id(found.job.due) for found in refused}
        self._count([job for job in jobs if id(job.due) not in unfired])

    def _fireable(self, jobs: list[Job]) -> list[Job]:
        problems: dict[str, UndeliverableError] = {}
        for topic in {job.schedule.topic for job in jobs if not job.due.republish} - self._topics:
            try:
                if self._delivery.exists(topic):
                    self._topics.add(topic)
                else:
                    problems[topic] = UndeliverableError(f"target topic {topic!r} does not exist")
            except UndeliverableError as error:  # no permission to see it
                problems[topic] = error
        if not problems:
            return jobs
        blocked = [job for job in jobs if job.schedule.topic in problems and not job.due.republish]
        self._set_aside(Refused(job, problems[job.schedule.topic]) for job in blocked)
        return [job for job in jobs if job.schedule.topic not in problems or job.due.republish]

    def _set_aside(self, refused: Iterable[Refused]) -> None:
        """Keep the claims, so that nobody takes them, and give them back after a pause."""
        for (due, schedule), error in refused:
            self._topics.discard(schedule.topic)
            self.figures.failed[schedule.topic, type(error).__name__] += 1
            self.figures.errors.add(str(error))
            attempt, pause_seconds = self._waiting.add(due)
            owned = self._assignment.partitions.get(due.number)
            _log.log(
                logging.ERROR if attempt == 1 else logging.DEBUG,
                "Can't fire the schedule at %s offset %d, schedule id %r: %s. It stays pending; "
                "attempt %d follows in %.0f s.",
                owned.where if owned else "a partition given up",
                due.offset,
                due.id,
                error,
                attempt + 1,
                pause_seconds,
            )

    def _give_back(self, jobs: Sequence[Job], error: Exception) -> None:
        self.figures.aborted += 1
        self.figures.errors.add(str(error))
        self._aborts += 1
        refused = {id(found.job.due): found for found in self._delivery.refused()}
        self._set_aside(refused.values())
        self._claims.give_back(job.due for job in jobs if id(job.due) not in refused)
        _log.log(
            logging.WARNING if self._aborts == 1 else logging.DEBUG,
            "A batch of %d was not fired and is tried again: %s.",
            len(jobs),
            error,
        )
        backoff_seconds = min(0.01 * 2 ** min(self._aborts, 10), _LONGEST_BACKOFF_SECONDS)
        self.stopping.wait(backoff_seconds * random.uniform(0.5, 1.0))

    def _count(self, jobs: Sequence[Job]) -> None:
        now_ms = time.time_ns() // 1_000_000
        fired = [job for job in jobs if not job.due.republish]
        self.figures.republished += len(jobs) - len(fired)
        self.figures.fired.update(job.schedule.topic for job in fired)
        self.figures.add_lateness((now_ms - job.due.due_ms) / 1000 for job in fired)
        self._waiting.forget(job.due for job in jobs)
