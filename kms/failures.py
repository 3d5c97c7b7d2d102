"""Schedules that could not be fired: when to try again, and when to give up.

The producer decides, the consumer writes it down, for only one thread writes the store.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterable
from typing import NamedTuple

from kms.due import Due
from kms.errors import UndeliverableError
from kms.figures import MOST_KINDS, OTHERS
from kms.kafka import TopicPartition
from kms.repeats import Repeats, more
from kms.schedule import Header
from kms.settings import Settings
from kms.times import duration_text, now_ms

_MOST_DOUBLINGS = 30
# Nobody is to blame but time: these are never given up.
REGISTRY_AWAY, NOT_DUE = _NEVER_OVER = "registry-away", "not-due"
SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET = (
    "kms-source-topic",
    "kms-source-partition",
    "kms-source-offset",
)
# Behind the record's own headers on a dead letter.
LETTER_HEADERS = (
    SOURCE_TOPIC,
    SOURCE_PARTITION,
    SOURCE_OFFSET,
    "kms-reason",
    "kms-message",
    "kms-failed-at-ms",
    "kms-attempts",
)

_log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A failed attempt: which one it is, since when they fail, when the next one follows."""

    due: Due
    attempt: int
    since_ms: int
    next_ms: int
    reason: str
    text: str


class Failures:
    """Failed attempts on their way from the producer to the store; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Failure] = []

    def add(self, failures: Iterable[Failure]) -> None:
        """Hand them over; their claims are held until they are written down."""
        with self._lock:
            self._found += failures

    def take(self) -> list[Failure]:
        """All that was handed over since the last call."""
        with self._lock:
            found, self._found = self._found, []
            return found


class Patience:
    """How long to go on with what fails: pauses that double, with jitter, up to a longest."""

    def __init__(self, settings: Settings) -> None:
        self._first_ms = settings.kms_retry_pause
        self._longest_ms = settings.kms_retry_longest_pause
        self._for_ms = settings.kms_retry_for
        self._buries = settings.kms_dead_letter_topic is not None

    def failure(self, due: Due, error: UndeliverableError, *, at_once: bool = False) -> Failure:
        """The failed attempt with the time of the next one; ``at_once`` leaves out the pause."""
        tried, failed_ms = due.tried, now_ms()
        attempt = 1 if tried is None else tried.attempts + 1
        pause_ms = min(self._first_ms * 2 ** min(attempt - 1, _MOST_DOUBLINGS), self._longest_ms)
        if error.permanent and not self._buries:
            pause_ms = max(self._longest_ms, self._for_ms)  # somebody has to do something first
        jitter = random.uniform(0.8, 1.2)  # or all that failed together would come together
        # 0 as at a start: a run that ends by itself waits for what is due for another attempt.
        next_ms = 0 if at_once else failed_ms + int(pause_ms * jitter)
        since_ms = failed_ms if tried is None else tried.since_ms
        return Failure(due, attempt, since_ms, next_ms, error.reason, str(error))

    def is_over(self, failure: Failure, error: UndeliverableError) -> bool:
        """Whether it goes to the dead-letter topic now, if there is one."""
        if not self._buries or error.reason in _NEVER_OVER:
            return False
        return error.permanent or now_ms() - failure.since_ms >= self._for_ms


def letter_headers(failure: Failure, where: TopicPartition) -> list[Header]:
    """What a dead letter says besides the record itself: LETTER_HEADERS, as text."""
    topic, partition = where
    values: tuple[object, ...] = (
        topic,
        partition,
        failure.due.offset,
        failure.reason,
        failure.text,
        now_ms(),
        failure.attempt,
    )
    pairs = zip(LETTER_HEADERS, values, strict=True)
    return [*failure.due.headers, *((name, str(value).encode()) for name, value in pairs)]


def stays(failure: Failure) -> str:
    """What becomes of one that is tried again, as a sentence."""
    seconds = max(failure.next_ms - now_ms(), 0) / 1000
    return f"It stays pending; the next attempt follows in {seconds:.1f} s."


class FailureLog:
    """One line for the first failure of a kind, then one a minute with how many there were."""

    def __init__(self) -> None:
        self._repeats = Repeats()

    def say_again(self, count: int, error: Exception) -> None:
        """A batch of so many failed as a whole, and is tried again as a whole."""
        unsaid = self._repeats.unsaid("batch")
        _log.log(
            logging.DEBUG if unsaid is None else logging.WARNING,
            "A batch of %d was not fired and is tried again: %s.%s",
            count,
            error,
            more(unsaid or 0),
        )

    def say_late(self, due: Due, where: TopicPartition | None, late: str) -> None:
        """It was not fired, for it came too late; ``late`` says by which rule."""
        unsaid = self._repeats.unsaid(("late", late))
        if unsaid is not None:
            _log.warning(
                "Too late, so not fired (%s): the schedule at %s offset %d, schedule id %r, was "
                "due %s ago.%s",
                late,
                where or "a partition given up",
                due.offset,
                due.id[:200],
                duration_text(max(now_ms() - due.due_ms, 0)),
                more(unsaid),
            )

    def say(self, failure: Failure, where: TopicPartition | None, target: str, end: str) -> None:
        """``end`` says what becomes of it, as the last part of the line."""
        kind = target, failure.reason
        if not self._repeats.knows(kind) and self._repeats.kinds() >= MOST_KINDS:
            kind = OTHERS, failure.reason
        unsaid = self._repeats.unsaid(kind)
        if unsaid is None:
            return
        _log.error(
            "Can't fire the schedule at %s offset %d, schedule id %r, attempt %d: %s. %s%s",
            where or "a partition given up",
            failure.due.offset,
            failure.due.id[:200],
            failure.attempt,
            failure.text,
            end,
            f" {unsaid} more attempts failed like this since it was last said." if unsaid else "",
        )
