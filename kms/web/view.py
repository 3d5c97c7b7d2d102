"""What the pages may know of the running service, asked for in one place and never for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kms import times
from kms.assignment import Assignment
from kms.claims import Claims
from kms.errors import FormatError, KmsError, RegistryAwayError
from kms.figures import ConsumerFigures, ProducerFigures
from kms.gate import Gate
from kms.heartbeat import Heartbeat
from kms.kafka import TopicPartition, instance_name, rebalance_timeout_ms
from kms.pauses import ALL
from kms.schedule import Schedule
from kms.settings import Settings
from kms.store import PageReader, Waiting
from kms.web import health
from kms.web.health import Health

_MOST_WAITING = 4
_WAIT_SECONDS = 2.0
# What is counted is counted anew when it is so old, and so many times what counting took.
_COUNT_SECONDS = 1.0
_COUNT_SHARE = 50
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
HOUR_BARS, DAY_BARS = 60, 48


class Partition(NamedTuple):
    """An assigned partition: folded up to before ``offset``; ``firing`` once it may fire."""

    where: TopicPartition
    offset: int
    firing: bool
    pending: int


class Target(NamedTuple):
    """A target topic that is held back, or could be: paused, at its limit, or both.

    ``topic`` is kms.pauses.ALL for all of them; ``waiting`` are due and wait for it here.
    """

    topic: str
    paused_since_ms: int | None
    limit: float | None  # messages a second, of all instances together
    waiting: int


class Counts(NamedTuple):
    """How many are pending, and when they are due, as of ``at_ms`` (epoch)."""

    at_ms: int
    pending: Mapping[int, int]  # by the partition's number
    failed: int
    overdue: int  # unless all are paused: then they are held back
    hour: Sequence[int]  # the next one, in HOUR_BARS parts
    day: Sequence[int]  # the next one, in DAY_BARS parts
    held_back: Mapping[str, int]  # due, and waiting for their target topic


class BusyError(KmsError):
    """So many ask at once that this one is turned away."""


class View:
    """The service as its pages see it; safe from any thread."""

    def __init__(
        self,
        settings: Settings,
        reader: PageReader,
        assignment: Assignment,
        claims: Claims,
        consumer: ConsumerFigures,
        producer: ProducerFigures,
        gate: Gate,
        heartbeats: Mapping[str, Heartbeat],
        stopping: Callable[[], bool],
    ) -> None:
        """``heartbeats`` by the thread's name."""
        self.settings = settings
        self.instance = instance_name(settings)
        self.started_ms = times.now_ms()
        self.consumer = consumer
        self.producer = producer
        self._started = time.monotonic()
        self._reader = reader
        self._assignment = assignment
        self._claims = claims
        self._gate = gate
        self._heartbeats = heartbeats
        self._stopping = stopping
        # A thread that is silent for longer has lost its partitions anyway, and giving them up
        # may take a transaction's timeout without a beat.
        self._limit_seconds = rebalance_timeout_ms(settings) / 1000
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_MOST_WAITING)
        self._counts: Counts | None = None
        self._counts_numbers: frozenset[int] = frozenset()
        self._count_at = float("-inf")

    def uptime_seconds(self) -> float:
        """Since the start, whatever the clock did meanwhile."""
        return time.monotonic() - self._started

    def ages_seconds(self) -> dict[str, float]:
        """How long ago each thread beat."""
        return {name: each.age_seconds() for name, each in self._heartbeats.items()}

    def live(self) -> Health:
        """Whether the loops turn; while it stops there is nothing to complain of."""
        if self._stopping():
            return Health(True, "It is stopping.")
        return health.live(self.ages_seconds(), self._limit_seconds)

    def ready(self) -> Health:
        """Whether it fires what it is to fire."""
        return health.ready(
            self.live(),
            self.consumer,
            time.monotonic(),
            stopping=self._stopping(),
            knows_pauses=self._gate.pauses.known,
        )

    @contextmanager
    def reading(self) -> Iterator[PageReader]:
        """The cache, for one at a time. Raises BusyError if too many wait for it."""
        if not self._room.acquire(timeout=_WAIT_SECONDS):
            raise BusyError
        try:
            with self._lock:
                yield self._reader
        finally:
            self._room.release()

    def owned(self) -> dict[int, TopicPartition]:
        """The assigned partitions: what the cache has of others may have fired elsewhere."""
        return {each.number: each.where for each in list(self._assignment.partitions.values())}

    def read(self, found: Waiting) -> Schedule | None:
        """What a record says by its topic's format; None of one that is no schedule.

        Nor of one whose schema nobody knows yet.
        """
        owned = self._assignment.partitions.get(found.place.number)
        try:
            return None if owned is None else owned.form.decode(found)
        except (FormatError, RegistryAwayError):
            return None

    def partitions(self, counts: Counts) -> list[Partition]:
        """The assigned partitions, by name."""
        firing = set(self._claims.open_numbers())
        return sorted(
            Partition(each.where, each.next_offset, each.number in firing, pending)
            for each in list(self._assignment.partitions.values())
            for pending in [counts.pending.get(each.number, 0)]
        )

    def targets(self, counts: Counts) -> list[Target]:
        """The target topics that are paused, have a limit, or are waited for; by name."""
        paused, limits = self._gate.pauses.since_ms(), self._gate.rates.limits
        waiting = {topic: count for topic, count in counts.held_back.items() if count}
        if ALL in paused:  # then what is due waits where it is, and for nobody in particular
            waiting[ALL] = counts.overdue
        names = sorted({*paused, *limits, *waiting})
        since_ms = {topic: paused.get(topic, paused.get(ALL)) for topic in names}
        return [Target(it, since_ms[it], limits.get(it), waiting.get(it, 0)) for it in names]

    def overdue(self, counts: Counts) -> int:
        """How many are due, not fired, and not held back."""
        return 0 if self.is_all_paused() else counts.overdue

    def is_all_paused(self) -> bool:
        """Whether nothing may be sent anywhere."""
        return self._gate.pauses.all_are()

    def counts(self, reader: PageReader) -> Counts:
        """A moment old at most, more where counting takes long; inside ``reading``."""
        numbers = frozenset(self.owned())
        started = time.monotonic()
        if self._counts is None or started >= self._count_at or numbers != self._counts_numbers:
            self._counts, self._counts_numbers = _counted(reader, numbers), numbers
            ended = time.monotonic()
            self._count_at = ended + max(_COUNT_SECONDS, _COUNT_SHARE * (ended - started))
        return self._counts


def _counted(reader: PageReader, numbers: frozenset[int]) -> Counts:
    now_ms = times.now_ms()
    hour = [now_ms + _HOUR_MS * part // HOUR_BARS for part in range(HOUR_BARS + 1)]
    day = [now_ms + _DAY_MS * part // DAY_BARS for part in range(DAY_BARS + 1)]
    values: tuple[Any, ...] = (
        reader.counts(numbers),
        reader.failed_count(numbers),
        reader.overdue(numbers, now_ms),
        reader.due_counts(numbers, hour),
        reader.due_counts(numbers, day),
        reader.held_back(numbers, now_ms),
    )
    return Counts(now_ms, *values)
