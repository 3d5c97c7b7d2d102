"""What the metrics tell of the cache."""

from __future__ import annotations

import time

from kms import times
from kms.figures import ConsumerFigures
from kms.store import PageReader

_AGE_SECONDS = 1.0  # counting a million rows takes some milliseconds of disk


class CacheFigures:
    """What the cache has of the assigned partitions, asked for at most once a second.

    Of others it may hold what was fired elsewhere since they were given up.
    """

    def __init__(self, consumer: ConsumerFigures, reader: PageReader) -> None:
        self._consumer = consumer
        self._reader = reader
        self._asked_at = float("-inf")
        self._asked: tuple[set[int], set[int]] = set(), set()
        self.pending: dict[tuple[str, int], int] = {}
        self.failed = 0
        self.held_back: dict[str, int] = {}  # by target topic
        self.overdue_seconds = 0.0

    def look(self) -> None:
        """Bring the values up to date, where they are not young enough."""
        owned, firing = self._consumer.owned, self._consumer.firing
        asked, now = (set(owned), set(firing)), time.monotonic()
        if asked == self._asked and now - self._asked_at <= _AGE_SECONDS:
            return
        self.pending = {
            owned[number]: count for number, count in self._reader.counts(list(owned)).items()
        }
        self.failed = self._reader.failed_count(list(owned))
        due_ms, now_ms = self._reader.next_due_ms(firing), times.now_ms()
        self.held_back = self._reader.held_back(list(owned), now_ms)
        self.overdue_seconds = 0.0 if due_ms is None else max(now_ms - due_ms, 0) / 1000
        self._asked, self._asked_at = asked, now
