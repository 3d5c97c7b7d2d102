"""What the threads count, each its own; read by the metrics at any time.

Plain numbers that one thread writes: counting costs nothing where a million are fired.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LATENESS_BUCKETS_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0),
)
# Of target topics with failures: more are counted and said as one.
MOST_KINDS = 200
LONGEST_NAME = 249
OTHERS = "(others)"
RECENT = 20  # firings remembered
# Why what was cached of a partition, or the whole file, was thrown away and read again.
(
    FILE_UNUSABLE,
    OTHER_CLUSTER,
    TOPIC_RECREATED,
    LOG_MOVED,
    CLOCK_SET_BACK,
    TOO_OLD,
    READ_TOO_SLOWLY,
) = REBUILD_REASONS = (
    "file-unusable",
    "other-cluster",
    "topic-recreated",
    "log-moved",
    "clock-set-back",
    "too-old",
    "read-too-slowly",
)
LONGEST_ID = 300  # bytes of their ids


@dataclass
class Errors:
    """The last error of a thread, and how many there were."""

    count: int = 0
    last_text: str = ""
    last_seconds: float = 0.0  # epoch

    def add(self, text: str) -> None:
        """Take note of an error that the thread survived."""
        self.count += 1
        self.last_text = text
        self.last_seconds = time.time()


class Fired(NamedTuple):
    """A schedule that was fired, for people to look at; ``id`` may be cut."""

    id: bytes
    target: str
    due_ms: int
    late_ms: int


@dataclass
class ConsumerFigures:
    """What the consumer thread did since the start."""

    received: Counter[str] = field(default_factory=Counter)  # by schedule topic
    cancelled: Counter[str] = field(default_factory=Counter)  # by schedule topic
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)  # by topic and reason
    rebuilt: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys(REBUILD_REASONS, 0))
    )
    rebuilt_seconds: float = 0.0  # epoch, the last time
    rebalances: int = 0
    assigned: int = 0
    caught_up: int = 0  # of the assigned partitions, those that may fire
    left_to_load: int = 0  # records of the partitions that may not yet
    loaded: int = 0
    held: int = 0  # partitions that wait for a schema
    held_at: Sequence[str] = ()  # where each of them waits
    owned: Mapping[int, tuple[str, int]] = field(default_factory=dict)  # the assigned, by number
    firing: Collection[int] = ()  # the numbers of those that may fire
    assigned_at: float | None = None  # monotonic, the last change; None while not in the group
    errors: Errors = field(default_factory=Errors)

    def add_rebuild(self, reason: str, count: int = 1) -> None:
        """Count what had to be read again; the reason is one of REBUILD_REASONS."""
        if count:
            self.rebuilt[reason] += count
            self.rebuilt_seconds = time.time()

    @property
    def joined(self) -> bool:
        """Whether the group has said which partitions are ours, be it none."""
        return self.assigned_at is not None


@dataclass
class ProducerFigures:
    """What the producer thread did since the start."""

    fired: Counter[str] = field(default_factory=Counter)  # by target topic
    expired: Counter[str] = field(default_factory=Counter)  # not fired, too late; by target topic
    republished: int = 0
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)  # by target and reason
    buried: Counter[str] = field(default_factory=Counter)  # dead letters, by reason
    aborted: int = 0
    lateness_counts: list[int] = field(
        default_factory=lambda: [0] * (len(LATENESS_BUCKETS_SECONDS) + 1)
    )
    lateness_sum_seconds: float = 0.0
    recent: tuple[Fired, ...] = ()  # the last of all, oldest first; replaced as a whole
    errors: Errors = field(default_factory=Errors)

    def add_failure(self, target: str, reason: str) -> None:
        """Count a failed attempt; targets beyond a number are one, for anybody may write any."""
        kind = target[:LONGEST_NAME], reason
        if kind not in self.failed and len(self.failed) >= MOST_KINDS:
            kind = OTHERS, reason
        self.failed[kind] += 1

    def add_expired(self, target: str) -> None:
        """Count one that was not fired, for it came too late; targets as for failures."""
        kind = target[:LONGEST_NAME]
        if kind not in self.expired and len(self.expired) >= MOST_KINDS:
            kind = OTHERS
        self.expired[kind] += 1

    def add_recent(self, fired: Iterable[Fired]) -> None:
        """Remember the last ones; give no more than RECENT of a batch."""
        self.recent = (*self.recent, *fired)[-RECENT:]

    def add_lateness(self, seconds: Iterable[float]) -> None:
        """Count how late each of a batch was; the last bucket takes what is beyond all."""
        for late in seconds:
            self.lateness_counts[bisect_left(LATENESS_BUCKETS_SECONDS, late)] += 1
            self.lateness_sum_seconds += late
