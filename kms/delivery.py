"""How a batch is fired, and who does it exactly once: in a transaction."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from kms.assignment import Assignment, Snapshot
from kms.due import Due
from kms.errors import (
    AbortTransactionError,
    BrokenProducerError,
    KafkaError,
    OvertakenError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.kafka import StretchReader, TransactionalWriter, Writer
from kms.messages import (
    Job,
    check_headers,
    produce_again,
    produce_end,
    produce_history,
    produce_message,
)
from kms.settings import Settings

_RENEW_SECONDS = 1.0
_TURNS = ("", "2")  # what tells the transactional ids of the producers apart


class Refused(NamedTuple):
    """A job that Kafka refused for its own sake.

    Not ``surely`` if it was sent together with others: the broker refuses a batch as a whole.
    """

    job: Job
    error: UndeliverableError
    surely: bool = True


class Delivery(Protocol):
    """Fires batches; for the producer thread."""

    def start(self, give_up: Callable[[], bool]) -> None:
        """Get ready; waits for the cluster, here and later, until ``give_up`` says so."""

    def exists(self, topic: str) -> bool:
        """Whether a target topic is there; raises RetriableKafkaError if nobody answers."""

    def send(self, jobs: Sequence[Job], before: Snapshot) -> list[Refused]:
        """Fire all but those returned. Raises AbortTransactionError if nothing was fired.

        ``before`` is the assignment as it was before the jobs' claims were looked at.
        """

    def refused(self) -> list[Refused]:
        """After an abort: the jobs that caused it, as far as Kafka told."""


class ExactlyOnce:
    """Target, tombstone and offsets in one transaction (design section 3).

    Two producers take turns: while the markers of one transaction are written, the broker lets the
    next one of the same producer wait.
    """

    def __init__(self, settings: Settings, assignment: Assignment) -> None:
        self._settings = settings
        self._assignment = assignment
        self._give_up: Callable[[], bool] = lambda: False
        self._writers = deque(TransactionalWriter(settings, purpose) for purpose in _TURNS)
        self._stretches: StretchReader | None = None  # rarely needed
        self._alone = False
        self._history = settings.history_topic
        self._blamed: list[Refused] = []  # for an abort, without Kafka's saying so

    def start(self, give_up: Callable[[], bool]) -> None:
        self._give_up = give_up
        # All of them, before anything fires: each ends what its predecessor left open.
        for _ in range(len(self._writers)):
            self._writers.rotate()
            try:
                self._writer.start(give_up)
            except BrokenProducerError:
                self._renew()

    @property
    def _writer(self) -> TransactionalWriter:
        return self._writers[0]

    def exists(self, topic: str) -> bool:
        return self._writer.exists(topic)

    def refused(self) -> list[Refused]:
        # The others were undone with the transaction and are not to blame.
        blamed, self._blamed = self._blamed, []
        found = undelivered(self._writer)
        ours = {part.where.topic for part in list(self._assignment.partitions.values())}
        # What was not acknowledged in time is to blame only if the tombstones beside it were.
        outage = any(each.topic in ours for each in found)
        told = [
            Refused(job, error, self._alone)
            for job, error, _ in found
            if isinstance(error, UndeliverableError)
            and not (outage and error.reason == "unacknowledged")
        ]
        return each_once([*blamed, *told])

    def send(self, jobs: Sequence[Job], before: Snapshot) -> list[Refused]:
        """A partition that went away since ``before`` has moved the group on.

        So the coordinator refuses the offsets sent with the metadata of then; newer would hide it.
        """
        self._alone = len(jobs) == 1
        self._writers.rotate()
        self._writer.begin()
        try:
            refused = self._produce(jobs)
            numbers = {job.due.number for job in jobs}
            offsets = self._assignment.offsets(numbers)
            if before.group_metadata is None or len(offsets) < len(numbers):
                # Without its offset nobody would check that a partition is still ours.
                raise AbortTransactionError("a partition was given up meanwhile")
            unsent = {id(found.job) for found in refused}
            copies = [job.due for job in jobs if id(job) not in unsent and job.is_written_again]
            self._check_copies(copies, before)
            self._writer.commit(offsets, before.group_metadata)
        except (AbortTransactionError, UndeliverableError) as error:
            self._abort()
            refusal = error.__cause__ if isinstance(error.__cause__, UndeliverableError) else error
            raise AbortTransactionError(str(error)) from refusal
        except BrokenProducerError as error:
            self._renew()
            raise AbortTransactionError(str(error)) from error
        return refused

    def _check_copies(self, copies: Sequence[Due], before: Snapshot) -> None:
        """Abort if anything was written under a copy's id since its claim was looked at.

        The copy, or what recurs, would lie behind that update or cancel and undo it. Raw reading
        finds it even in a transaction that is still open.
        """
        if not copies:
            return
        self._writer.flush()
        ids = {(self._assignment.owned(due).where, due.id): due for due in copies}
        try:
            starts = {where: before.next_offsets[where] for where, _ in ids}
            self._stretches = self._stretches or StretchReader(self._settings)
            seconds = self._settings.kms_transaction_timeout_ms / 2000
            counts = Counter(self._stretches.keys(starts, seconds))
        except KeyError:
            raise AbortTransactionError("a partition was taken over meanwhile") from None
        except RetriableKafkaError as error:
            raise AbortTransactionError(str(error)) from error
        overtaken = [key for key in ids if counts[key] != 1]  # the copy itself
        if overtaken:
            where, schedule_id = overtaken[0]
            text = f"{schedule_id!r} at {where} was written meanwhile"
            raise OvertakenError(text, [ids[key] for key in overtaken])

    def _abort(self) -> None:
        try:
            self._writer.abort()
        except BrokenProducerError:
            self._renew()

    def _renew(self) -> None:
        """A new producer under the same id: its start ends whatever the old one left open."""
        while True:
            self._writers[0] = TransactionalWriter(self._settings, self._writer.purpose)
            try:
                return self._writer.start(self._give_up)
            except BrokenProducerError:
                if self._give_up():
                    raise
                time.sleep(_RENEW_SECONDS)  # each of them is a client with threads of its own

    def _produce(self, jobs: Sequence[Job]) -> list[Refused]:
        refused = []
        for job in jobs:
            is_begun = False
            try:
                if job.due.republish:
                    produce_again(self._writer, self._assignment, job)
                    continue
                check_headers(job)
                is_begun = produce_history(self._writer, self._assignment, job, self._history)
                is_begun |= produce_message(self._writer, job)
                produce_end(self._writer, self._assignment, job)
            except UndeliverableError as error:
                refused.append(Refused(job, error))
                if is_begun:
                    # A part of what is not to be fired is under way already.
                    self._blamed = refused
                    raise AbortTransactionError(str(error)) from None
        return refused


class Undelivered(NamedTuple):
    """A job of which Kafka refused a message, why, and for which topic that was."""

    job: Job
    error: KafkaError
    topic: str


def each_once(refused: Iterable[Refused]) -> list[Refused]:
    """One for each job: its message and the copy for the history may both have been refused."""
    found: dict[int, Refused] = {}
    for each in refused:
        found.setdefault(id(each.job), each)
    return list(found.values())


def undelivered(writer: Writer) -> list[Undelivered]:
    """What was refused of jobs since the last call."""
    return [
        Undelivered(found.tag, found.error, found.topic)
        for found in writer.refused()
        if isinstance(found.tag, Job)
    ]
