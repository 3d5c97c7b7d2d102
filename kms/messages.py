"""What is sent for a schedule: its message or dead letter and its tombstone, or a copy of it."""

from __future__ import annotations

from typing import NamedTuple

from kms import times
from kms.assignment import Assignment
from kms.due import Due
from kms.errors import (
    FormatError,
    RegistryAwayError,
    UndeliverableError,
)
from kms.failures import NOT_DUE, REGISTRY_AWAY
from kms.figures import LONGEST_ID, LONGEST_NAME, Fired
from kms.formats.headers import EPOCH, KEY, TARGET_TOPIC, TIMESTAMP, TOPIC
from kms.kafka import Writer
from kms.kinds import EXPIRED, recurs
from kms.occurrences import FIRED, Outcome
from kms.schedule import (
    Header,
    Schedule,
    fired_headers,
    following_headers,
    is_stand_in,
    without_following,
)


class Letter(NamedTuple):
    """What is sent instead of a schedule's message when it is given up: its record, and why."""

    topic: str
    headers: list[Header]
    reason: str = ""


class Job(NamedTuple):
    """A claimed schedule, decoded: what to send, and whose it is.

    With a ``letter`` that is sent in its stead, and nothing for one that is late; the tombstone,
    or what recurs for its next time, follows all the same.
    """

    due: Due
    schedule: Schedule
    letter: Letter | None = None
    outcome: Outcome = FIRED

    @property
    def topic(self) -> str:
        """Where its message goes; empty without one, as for a copy, which goes to its record."""
        if self.letter is not None:
            return self.letter.topic
        return self.schedule.topic if self.is_sent else ""

    @property
    def is_sent(self) -> bool:
        """Whether its own message is what is sent."""
        return not (self.due.republish or self.outcome.late or self.letter is not None)

    @property
    def is_written_again(self) -> bool:
        """Whether it leaves a record under its id that is pending."""
        return self.due.republish or self.outcome.again is not None

    def given_up(self, letter: Letter) -> Job:
        """With its dead letter, and an end of what recurs: that is in the letter, to be redriven.

        Unless it only came too late this time.
        """
        outcome = self.outcome if letter.reason == EXPIRED else FIRED
        return self._replace(letter=letter, outcome=outcome)


def as_fired(job: Job, now_ms: int) -> Fired:
    """What is remembered of it once it was fired, at ``now_ms``."""
    due_ms, target = job.due.due_ms, job.schedule.topic[:LONGEST_NAME]
    return Fired(job.due.id[:LONGEST_ID], target, due_ms, now_ms - due_ms)


def schedule_of(assignment: Assignment, due: Due) -> Schedule:
    """What a claimed record says, if it is to be fired now; UndeliverableError if not.

    AbortTransactionError if its partition was given up.
    """
    schedule, due.schedule = due.schedule, None  # a claim is kept, its message need not be
    try:
        schedule = schedule or assignment.decode(due)
    except FormatError as error:
        raise UndeliverableError(str(error), error.reason, permanent=True) from error
    except RegistryAwayError as error:
        raise UndeliverableError(str(error), REGISTRY_AWAY) from error
    if schedule.due_ms > due.due_ms and schedule.due_ms > times.now_ms():
        # It was folded as due at once, when nobody knew its schema.
        raise UndeliverableError("it can be read now, and is not due yet", NOT_DUE)
    return schedule


def check_headers(job: Job) -> None:
    """Before anything of it is produced; raises UndeliverableError."""
    if job.letter is None and any("\0" in name for name, _ in job.schedule.headers):
        # confluent_kafka would cut the name there, and it would not arrive byte for byte.
        raise UndeliverableError(
            "a header's name holds a NUL byte", "illegal-header", permanent=True
        )


def produce_message(writer: Writer, job: Job) -> bool:
    """The message, or the letter in its stead; False if it has neither.

    Raises UndeliverableError if that is refused at once.
    """
    schedule, due = job.schedule, job.due
    if job.letter is not None:
        key = None if is_stand_in(due.id, due.offset) else due.id
        writer.produce(job.letter.topic, key, due.value, job.letter.headers, tag=job)
        return True
    if not job.is_sent:
        return False
    writer.produce(schedule.topic, schedule.key, schedule.value, schedule.headers, tag=job)
    return True


def produce_history(writer: Writer, assignment: Assignment, job: Job, topic: str | None) -> bool:
    """A copy of the message, with headers that say which schedule it was, as etf1's has them.

    False without a topic for it, or of what sends no message of its own. Raises
    UndeliverableError if it is refused at once, AbortTransactionError as a tombstone does.
    """
    if topic is None or not job.is_sent:
        return False
    schedule, due = job.schedule, job.due
    told: list[Header] = [
        (EPOCH, b"%d" % (schedule.due_ms // 1000)),
        (TARGET_TOPIC, schedule.topic.encode()),
        (TIMESTAMP, b"%d" % (due.written_ms // 1000)),
        (KEY, due.id),
        (TOPIC, assignment.owned(due).where.topic.encode()),
    ]
    # What recurs has the time of its first occurrence in its record, if that has it in a header.
    stale = EPOCH if recurs(due.headers) else None
    kept = [header for header in schedule.headers if header[0] != stale]
    own = {name for name, _ in kept}
    headers = [*kept, *(header for header in told if header[0] not in own)]
    writer.produce(topic, schedule.key, schedule.value, headers, tag=job)
    return True


def produce_end(writer: Writer, assignment: Assignment, job: Job) -> None:
    """What ends the schedule, or this occurrence of it: its tombstone, or its next record.

    Raises AbortTransactionError if its partition was given up, UndeliverableError if it is refused
    at once: a record may be larger than its message.
    """
    # On the record's own partition: librdkafka's partitioner would choose another one than the
    # client that wrote the record, and a tombstone elsewhere deletes nothing.
    found = assignment.owned(job.due)
    topic, partition = found.where
    value, again = None, job.outcome.again
    headers = fired_headers(job.due.offset, found.topic_id)
    if again is not None:
        value = job.due.value
        headers = [*again, *following_headers(job.due.offset, found.topic_id)]
    writer.produce(topic, job.due.id, value, headers, tag=job, partition=partition)


def produce_again(writer: Writer, assignment: Assignment, job: Job) -> None:
    """The record once more, where it is; raises as for a tombstone."""
    due = job.due
    topic, partition = assignment.owned(due).where
    headers = without_following(due.headers)
    writer.produce(topic, due.id, due.value, headers, tag=job, partition=partition)
