"""Schedules that could not be fired and wait for their next attempt; for the producer thread."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Iterable

from kms.due import Due

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Waiting:
    """Holds claimed schedules for growing pauses, with jitter, and counts their attempts.

    In memory: a restart tries all of them at once, which harms nobody.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Due]] = []
        self._order = itertools.count()  # so that two of the same time are never compared
        self._attempts: dict[tuple[int, bytes, int], int] = {}

    def add(self, due: Due) -> tuple[int, float]:
        """Hold one after a failed attempt; answers which attempt it was and the pause."""
        key = _key(due)
        attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        pause_seconds = min(
            _FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 16), _LONGEST_PAUSE_SECONDS
        )
        pause_seconds *= random.uniform(0.8, 1.2)
        heapq.heappush(self._heap, (time.monotonic() + pause_seconds, next(self._order), due))
        return attempt, pause_seconds

    def over(self) -> list[Due]:
        """Those whose pause is over; they are held no longer."""
        now = time.monotonic()
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found

    def forget(self, fired: Iterable[Due]) -> None:
        """These were fired: their attempts are history."""
        if self._attempts:
            for due in fired:
                self._attempts.pop(_key(due), None)


def _key(due: Due) -> tuple[int, bytes, int]:
    return due.number, due.id, due.offset
