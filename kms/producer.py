"""The producer thread: due -> transaction. Fires batches, sets aside what can't be fired."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kms import times
from kms.assignment import Assignment, Snapshot
from kms.claims import Claims
from kms.delivery import Delivery, Refused
from kms.due import BATCH, Due, DueQueue
from kms.errors import (
    AbortTransactionError,
    OvertakenError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.failures import Failure, FailureLog, Failures, Patience, letter_headers, stays
from kms.figures import RECENT, ProducerFigures
from kms.gate import Gate
from kms.jobs import Jobs
from kms.kafka import TopicPartition
from kms.kinds import EXPIRED, recurs
from kms.messages import Job, Letter, as_fired
from kms.settings import Settings
from kms.targets import Targets
from kms.worker import Worker

_SUSPECTS_SECONDS = 0.02  # for them in each turn; the others wait as long
_MOST_SUSPECTS = 1_000
_POLL_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 1.0
_BLAMED = {"too-large", "refused"}  # what a broker says of all that came in one request


class _Attempt(NamedTuple):
    """What became of a batch; ``anew`` are groups for further transactions, still claimed.

    ``held`` and ``later`` are those of kms.jobs.Sorted.
    """

    fired: Sequence[Job] = ()
    refused: Sequence[Refused] = ()
    anew: Sequence[list[Due]] = ()
    held: Sequence[tuple[Due, str]] = ()
    later: Sequence[Due] = ()


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
        gate: Gate | None = None,
    ) -> None:
        super().__init__("producer")
        self._gate = gate or Gate()
        self.figures = ProducerFigures()
        self._delivery = delivery
        self._queue = queue
        self._claims = claims
        self._assignment = assignment
        self._failures = failures
        self._dead_letter_topic = settings.kms_dead_letter_topic
        self._patience = Patience(settings)
        self._targets = Targets(delivery.exists, self.heartbeat.beat, settings.history_topic)
        buries = self._dead_letter_topic is not None
        self._jobs = Jobs(assignment, self._targets, self._gate, buries=buries)
        self._failure_log = FailureLog()
        self._aborts = 0
        self._suspects: deque[Due] = deque()

    def run(self) -> None:
        try:
            self._delivery.start(self.is_over)
        except RetriableKafkaError:
            if not self.stopping.is_set():
                raise
        while not self.is_over():
            batch = self._queue.take(BATCH, 0.0 if self._suspects else _POLL_SECONDS)
            for group in self._apart(batch):
                self._fire(group)
            self._fire_suspects()

    def _apart(self, batch: Sequence[Due]) -> Iterator[list[Due]]:
        """Groups for transactions of their own, for what fails takes what is beside it along.

        What is written again, what was never tried, what was; those of whom one is to blame are
        put aside.
        """
        groups: tuple[list[Due], list[Due], list[Due]] = ([], [], [])
        for due in batch:
            if due.tried is None:
                groups[0 if due.republish or recurs(due.headers) else 1].append(due)
            elif due.tried.reason in _BLAMED:
                self._suspects.append(due)
            else:
                groups[2].append(due)
        return (group for group in groups if group)

    def _fire_suspects(self) -> None:
        """Some of them, one at a time: the broker refuses as a whole what comes in one request."""
        deadline = time.monotonic() + _SUSPECTS_SECONDS
        while self._suspects and time.monotonic() < deadline:
            self._fire([self._suspects.popleft()])
        if len(self._suspects) > _MOST_SUSPECTS:
            self._claims.give_back(self._suspects)  # they come again
            self._suspects.clear()

    def _fire(self, batch: Sequence[Due]) -> None:
        """One transaction with those of the batch that are still to be fired."""
        if self.is_over():
            return
        before = self._assignment.snapshot()
        try:
            attempt = self._attempt(self._claims.begin(batch), before)
            self._gate.hold(attempt.held)  # before whoever takes the partition away goes on
        finally:
            self._claims.end()  # whatever happened: somebody may be waiting for it
        # After the end: a claim that is given back ends what runs.
        if attempt.later:
            self._claims.give_back(attempt.later)
        self._bury(self._set_aside(attempt.refused))
        for group in attempt.anew:
            self._fire(group)

    def _attempt(self, claimed: Sequence[Due], before: Snapshot) -> _Attempt:
        try:
            jobs, refused, held, later = self._jobs.of(claimed)
        except (AbortTransactionError, RetriableKafkaError) as error:
            self._give_back(claimed, error)
            return _Attempt()
        attempt = self._send(jobs, before) if jobs else _Attempt()
        return attempt._replace(refused=refused + list(attempt.refused), held=held, later=later)

    def _send(self, jobs: Sequence[Job], before: Snapshot) -> _Attempt:
        try:
            refused = self._delivery.send(jobs, before)
        except (AbortTransactionError, RetriableKafkaError) as error:
            return self._after_abort(jobs, error)
        self._aborts = 0
        unfired = {id(found.job.due) for found in refused}
        fired = [job for job in jobs if id(job.due) not in unfired]
        self._count(fired)
        return _Attempt(fired, refused)

    def _after_abort(self, jobs: Sequence[Job], error: Exception) -> _Attempt:
        """Whom to blame, as far as can be known; the others are fired anew at once."""
        refused = self._delivery.refused()
        cause = error.__cause__
        if isinstance(cause, UndeliverableError) and cause.reason == "not-authorised":
            # Kafka does not say to which topic it let nothing be added: each by itself tells.
            by_topic: dict[str, list[Due]] = {}
            for job in jobs:
                by_topic.setdefault(job.topic, []).append(job.due)
            if len(by_topic) > 1:
                return _Attempt(anew=list(by_topic.values()))
            topic = jobs[0].topic
            problem = UndeliverableError(
                f"no permission to write to {topic!r}: {cause}", cause.reason
            )
            self._targets.refused(topic, problem)
            return _Attempt(refused=[Refused(job, problem) for job in jobs])
        if isinstance(cause, OvertakenError):
            overtaken = {id(claim) for claim in cause.claims}
            self._give_back([job.due for job in jobs if id(job.due) in overtaken], error)
            innocent = [job.due for job in jobs if id(job.due) not in overtaken]
            return _Attempt(anew=[innocent] if innocent else [])
        for job in jobs:  # one that was deleted meanwhile holds up all until a timeout
            self._targets.forget(job.topic)
        for found in refused:
            if found.error.reason == "unacknowledged":
                self._targets.refused(found.job.topic, found.error)
        blamed = {id(found.job.due) for found in refused}
        innocent = [job.due for job in jobs if id(job.due) not in blamed]
        if refused:
            self.figures.aborted += 1
            return _Attempt(refused=refused, anew=[innocent] if innocent else [])
        self._give_back(innocent, error)
        return _Attempt()

    def _set_aside(self, refused: Sequence[Refused]) -> list[tuple[Job, Failure]]:
        """Hand over what is to be tried again; returns what is to be given up, with its letter."""
        letters, failures = [], []
        for job, error, surely in refused:
            self._targets.forget(job.topic)
            # Refused with others it may be innocent: by itself, then, and without a pause.
            innocent = error.reason in _BLAMED and not surely
            failure = self._patience.failure(job.due, error, at_once=innocent)
            owned = self._owned(job.due)
            ends = not innocent and self._patience.is_over(failure, error)
            if ends and not job.due.republish and owned is not None:
                headers = letter_headers(failure, owned)
                letter = Letter(self._dead_letter_topic or "", headers, failure.reason)
                letters.append((job.given_up(letter), failure))
            else:
                failures.append(failure)
            if not innocent and error.reason != EXPIRED:
                self.figures.add_failure(job.schedule.topic, failure.reason)
                self.figures.errors.add(failure.text)
                if not letters or letters[-1][1] is not failure:
                    self._failure_log.say(failure, owned, job.schedule.topic, stays(failure))
        self._failures.add(failures)
        return letters

    def _bury(self, letters: Sequence[tuple[Job, Failure]]) -> None:
        """Send dead letters in a transaction of their own; those that are refused stay pending."""
        if not letters or self.stopping.is_set():
            return
        topic = self._dead_letter_topic or ""
        failures = {id(job.due): failure for job, failure in letters}
        before = self._assignment.snapshot()
        try:
            held = {id(due) for due in self._claims.begin([job.due for job, _ in letters])}
            jobs = [job for job, _ in letters if id(job.due) in held]
            attempt = self._try_to_bury(jobs, topic, before)
        finally:
            self._claims.end()
        for job in attempt.fired:
            end = f"It went to the dead-letter topic {topic}."
            where = self._owned(job.due)
            self._failure_log.say(failures[id(job.due)], where, job.schedule.topic, end)
        for job, error, _ in attempt.refused:
            failure = failures[id(job.due)]
            text = f"{failure.text}; the dead-letter topic does not take it either: {error}"
            failure = failure._replace(text=text)
            self._failure_log.say(failure, self._owned(job.due), topic, stays(failure))
            self._failures.add([failure])
        for group in attempt.anew:
            self._claims.give_back(group)  # they come again

    def _try_to_bury(self, jobs: Sequence[Job], topic: str, before: Snapshot) -> _Attempt:
        if not jobs:
            return _Attempt()
        try:
            problem = self._targets.problems({topic}).get(topic)
        except (AbortTransactionError, RetriableKafkaError) as error:
            self._give_back([job.due for job in jobs], error)
            return _Attempt()
        if problem is not None:
            return _Attempt(refused=[Refused(job, problem) for job in jobs])
        return self._send(jobs, before)

    def _owned(self, due: Due) -> TopicPartition | None:
        owned = self._assignment.partitions.get(due.number)
        return None if owned is None else owned.where

    def _give_back(self, batch: Sequence[Due], error: Exception) -> None:
        if not batch:
            return
        self.figures.aborted += 1
        self.figures.errors.add(str(error))
        self._aborts += 1
        self._claims.give_back(batch)
        self._failure_log.say_again(len(batch), error)
        backoff_seconds = min(0.01 * 2 ** min(self._aborts, 10), _LONGEST_BACKOFF_SECONDS)
        self.stopping.wait(backoff_seconds * random.uniform(0.5, 1.0))

    def _count(self, jobs: Sequence[Job]) -> None:
        now_ms = times.now_ms()
        fired = [job for job in jobs if job.is_sent]
        self.figures.republished += sum(job.due.republish for job in jobs)
        self.figures.buried.update(job.letter.reason for job in jobs if job.letter is not None)
        for job in jobs:
            if job.outcome.late:
                self.figures.add_expired(job.schedule.topic)
                if job.letter is None:
                    self._failure_log.say_late(job.due, self._owned(job.due), job.outcome.late)
        self.figures.fired.update(job.schedule.topic for job in fired)
        self.figures.add_recent(as_fired(job, now_ms) for job in fired[-RECENT:])
        self.figures.add_lateness((now_ms - job.due.due_ms) / 1000 for job in fired)
