"""The producer thread: due -> transaction. Fires batches, sets aside what can't be fired."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from itertools import chain

from kms.assignment import Assignment, Snapshot
from kms.claims import Claims
from kms.delivery import Delivery, Job, Letter, Refused
from kms.due import Due, DueQueue
from kms.errors import (
    AbortTransactionError,
    FormatError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.failures import Failure, FailureLog, Failures, Patience, letter_headers
from kms.figures import ProducerFigures
from kms.formats import Format
from kms.kafka import TopicPartition
from kms.schedule import Schedule, stand_in_id
from kms.settings import Settings
from kms.targets import Targets
from kms.worker import Worker

BATCH = 5_000  # schedules in one transaction at most
_SUSPECTS = 100  # in one transaction, each acknowledged by itself
_POLL_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 1.0
_BLAMED = {"too-large", "refused"}  # what a broker says of all that came in one request
_UNREAD = Schedule(0, "", b"", None)  # of a record that is none

_log = logging.getLogger(__name__)


class ScheduleProducer(Worker):
    """Takes what is due from the queue and fires it, as many at a time as have gathered."""

    def __init__(
        self,
        settings: Settings,
        delivery: Delivery,
        queue: DueQueue,
        claims: Claims,
        assignment: Assignment,
        failures: Failures,
        form: Format,
    ) -> None:
        super().__init__("producer")
        self.figures = ProducerFigures()
        self._delivery = delivery
        self._queue = queue
        self._claims = claims
        self._assignment = assignment
        self._failures = failures
        self._decode = form.decode
        self._dead_letter_topic = settings.kms_dead_letter_topic
        self._patience = Patience(settings)
        self._targets = Targets(delivery.exists)
        self._failure_log = FailureLog()
        self._aborts = 0

    def run(self) -> None:
        try:
            self._delivery.start(self.stopping.is_set)
        except RetriableKafkaError:
            if not self.stopping.is_set():
                raise
        while not self.stopping.is_set():
            batch = self._queue.take(BATCH, _POLL_SECONDS)
            for group, one_by_one in _apart(batch):
                self._fire(group, one_by_one)

    def _fire(self, batch: Sequence[Due], one_by_one: bool) -> None:
        before = self._assignment.snapshot()
        try:
            claimed = self._claims.begin(batch)
            try:
                jobs, refused = self._fireable(claimed)
            except (AbortTransactionError, RetriableKafkaError) as error:
                return self._give_back(claimed, error)
            refused += self._send(jobs, before, one_by_one)
            letters = self._set_aside(refused)
            self._failures.add(self._bury(letters, before))
        finally:
            self._claims.end()  # whatever happened: somebody may be waiting for it

    def _fireable(self, claimed: Sequence[Due]) -> tuple[list[Job], list[Refused]]:
        jobs, refused = [], []
        for due in claimed:
            try:
                if due.id == stand_in_id(due.offset):
                    raise UndeliverableError("it has no key", "null-id", permanent=True)
                jobs.append(Job(due, self._decode(due.value)))
            except FormatError as error:
                found = UndeliverableError(str(error), "undecodable", permanent=True)
                refused.append(Refused(Job(due, _UNREAD), found))
            except UndeliverableError as error:
                refused.append(Refused(Job(due, _UNREAD), error))
        topics = {job.schedule.topic for job in jobs if not job.due.republish}
        problems = self._targets.problems(topics)
        fit = []
        for job in jobs:
            problem = None if job.due.republish else problems.get(job.schedule.topic)
            if problem is None:
                fit.append(job)
            else:
                refused.append(Refused(job, problem))
        return fit, refused

    def _send(self, jobs: Sequence[Job], before: Snapshot, one_by_one: bool) -> list[Refused]:
        if not jobs:
            return []
        try:
            refused = self._delivery.send(jobs, before, one_by_one=one_by_one)
        except (AbortTransactionError, RetriableKafkaError) as error:
            refused = self._delivery.refused()
            cause = error.__cause__
            if isinstance(cause, UndeliverableError) and cause.reason == "not-authorised":
                return self._send_by_topic(jobs, before, cause)
            for job in jobs:  # one that was deleted meanwhile holds up all until a timeout
                self._targets.forget(job.schedule.topic)
            blamed = {id(found.job.due) for found in refused}
            self._give_back([job.due for job in jobs if id(job.due) not in blamed], error)
            return refused
        self._aborts = 0
        unfired = {id(found.job.due) for found in refused}
        self._count([job for job in jobs if id(job.due) not in unfired])
        return refused

    def _send_by_topic(
        self, jobs: Sequence[Job], before: Snapshot, cause: UndeliverableError
    ) -> list[Refused]:
        """Kafka does not say to which topic it let nothing be added: each by itself tells."""
        by_topic: dict[str, list[Job]] = {}
        for job in jobs:
            by_topic.setdefault(_topic_of(job), []).append(job)
        if len(by_topic) > 1:
            found = [self._send(each, before, one_by_one=False) for each in by_topic.values()]
            return list(chain.from_iterable(found))
        topic = _topic_of(jobs[0])
        problem = UndeliverableError(f"no permission to write to {topic!r}: {cause}", cause.reason)
        self._targets.refused(topic, problem)
        return [Refused(job, problem) for job in jobs]

    def _set_aside(self, refused: Sequence[Refused]) -> list[tuple[Job, Failure]]:
        """Hand over what is to be tried again; returns what is to be given up, with its letter."""
        letters = []
        for job, error, surely in refused:
            if error.reason != "not-authorised":
                self._targets.forget(job.schedule.topic)
            # Refused with others it may be innocent: by itself, then, and without a pause.
            innocent = error.permanent and not surely
            failure = self._patience.failure(job.due, error, at_once=innocent)
            ends = not innocent and self._patience.is_over(failure, error)
            if ends and not job.due.republish and (owned := self._owned(job.due)) is not None:
                letter = Letter(self._dead_letter_topic or "", letter_headers(failure, owned))
                letters.append((job._replace(letter=letter), failure))
            else:
                self._failures.add([failure])
            if not innocent:
                self._tell(job, failure, buried=ends)
        return letters

    def _bury(self, letters: Sequence[tuple[Job, Failure]], before: Snapshot) -> list[Failure]:
        """Send dead letters; returns those that have to stay, for their topic refuses them."""
        if not letters:
            return []
        topic = self._dead_letter_topic or ""
        failures = {id(job.due): failure for job, failure in letters}
        try:
            problem = self._targets.problems({topic}).get(topic)
        except (AbortTransactionError, RetriableKafkaError) as error:
            self._give_back([job.due for job, _ in letters], error)
            return []
        jobs = [job for job, _ in letters]
        refused = (
            self._send(jobs, before, one_by_one=False)
            if problem is None
            else [Refused(job, problem) for job in jobs]
        )
        left = []
        for job, refusal, _ in refused:
            self._targets.forget(topic)
            failure = failures[id(job.due)]
            text = f"{failure.text}; the dead-letter topic does not take it either: {refusal}"
            self._failure_log.say(failure._replace(text=text), self._owned(job.due), topic, "")
            left.append(failure._replace(text=text))
        return left

    def _tell(self, job: Job, failure: Failure, *, buried: bool) -> None:
        target = job.schedule.topic
        self.figures.failed[target, failure.reason] += 1
        self.figures.errors.add(failure.text)
        seconds = (failure.next_ms - time.time() * 1000) / 1000
        end = (
            f"It goes to the dead-letter topic {self._dead_letter_topic}."
            if buried
            else f"It stays pending; the next attempt follows in {seconds:.1f} s."
        )
        self._failure_log.say(failure, self._owned(job.due), target, end)

    def _owned(self, due: Due) -> TopicPartition | None:
        owned = self._assignment.partitions.get(due.number)
        return None if owned is None else owned.where

    def _give_back(self, batch: Sequence[Due], error: Exception) -> None:
        self.figures.aborted += 1
        self.figures.errors.add(str(error))
        self._aborts += 1
        self._claims.give_back(batch)
        _log.log(
            logging.WARNING if self._aborts == 1 else logging.DEBUG,
            "A batch of %d was not fired and is tried again: %s.",
            len(batch),
            error,
        )
        backoff_seconds = min(0.01 * 2 ** min(self._aborts, 10), _LONGEST_BACKOFF_SECONDS)
        self.stopping.wait(backoff_seconds * random.uniform(0.5, 1.0))

    def _count(self, jobs: Sequence[Job]) -> None:
        now_ms = time.time_ns() // 1_000_000
        fired = [job for job in jobs if not job.due.republish and job.letter is None]
        buried = [job for job in jobs if job.letter is not None]
        self.figures.republished += len(jobs) - len(fired) - len(buried)
        self.figures.buried.update(job.schedule.topic for job in buried)
        self.figures.fired.update(job.schedule.topic for job in fired)
        self.figures.add_lateness((now_ms - job.due.due_ms) / 1000 for job in fired)


def _topic_of(job: Job) -> str:
    if job.letter is not None:
        return job.letter.topic
    return "" if job.due.republish else job.schedule.topic


def _apart(batch: Sequence[Due]) -> Iterator[tuple[Sequence[Due], bool]]:
    """What is fired in transactions of its own, for what fails takes what is beside it along.

    Copies; what was never tried; what was; and, one by one, those of whom one is to blame.
    """
    suspects = [due for due in batch if due.tried is not None and due.tried.reason in _BLAMED]
    again = [due for due in batch if due.tried is not None and due.tried.reason not in _BLAMED]
    copies = [due for due in batch if due.tried is None and due.republish]
    fresh = [due for due in batch if due.tried is None and not due.republish]
    for group in (copies, fresh, again):
        if group:
            yield group, False
    for start in range(0, len(suspects), _SUSPECTS):
        yield suspects[start : start + _SUSPECTS], True
