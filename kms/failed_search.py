"""Takes what failed and is due for another attempt: some at a time, each in its turn."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kms.claims import BEFORE_ALL
from kms.due import Due
from kms.store import Attempt, Reader

# They are looked at this often, and this many at a time: however many there are, they take little
# from the others.
LOOK_SECONDS = 0.1
BATCH = 500


class FailedSearch:
    """Looks at the failed schedules of all open partitions; for the scheduler thread.

    A look goes on where the last one ended: those whose target topic is at its limit may be due
    for long, and the others behind them must not wait for that.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._look_at = float("-inf")
        self._room = 0
        self._number: int | None = None  # the partition where a look begins
        self._after: Attempt = BEFORE_ALL  # and past what there

    def begin(self, numbers: Sequence[int]) -> list[int]:
        """A new look; the partitions in the order in which they are to be asked for."""
        if self._room:
            self._after = BEFORE_ALL  # the last one got to the end
        self._room = 0
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._room = BATCH
        if self._number not in numbers:
            self._number = None
            return list(numbers)
        first = numbers.index(self._number)
        return [*numbers[first:], *numbers[:first]]

    def find(self, number: int, now_ms: int) -> list[Due]:
        """Those of a partition that are due again, as far as the look goes."""
        if not self._room:
            return []
        after = self._after if number == self._number else BEFORE_ALL
        found, last = self._reader.again(number, now_ms, self._room, after)
        self._room -= len(found)
        if not self._room:
            self._number, self._after = number, last
        return found
