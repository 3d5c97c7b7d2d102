"""A schedule that is due, and the queue that takes it from the scheduler to the producer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from kms.schedule import Header, Schedule

BATCH = 5_000  # schedules in one transaction at most
QUEUE_ROOM = 2 * BATCH  # handed over and not yet in a transaction; more would only use memory


class Tried(NamedTuple):
    """What is known of a schedule's failed attempts: how many, since when, and the last reason."""

    attempts: int
    since_ms: int
    reason: str


class Due:
    """A schedule that was handed out: to be fired, or (``republish``) written once more.

    ``tried`` is None before the first failed attempt. ``lane`` is where it waited, 0 with those
    whom nothing holds back (kms.gate). ``schedule`` is the record decoded, while it is on its way
    to the producer, if it could be. Its identity is the claim: another object for the same row is
    another claim.
    """

    __slots__ = (
        "due_ms",
        "headers",
        "id",
        "lane",
        "number",
        "offset",
        "republish",
        "schedule",
        "tried",
        "value",
        "written_ms",
    )

    def __init__(
        self,
        number: int,
        id: bytes,  # noqa: A002 - the field's own name
        offset: int,
        due_ms: int,
        value: bytes,
        headers: tuple[Header, ...] = (),
        republish: bool = False,
        tried: Tried | None = None,
        written_ms: int = 0,
        lane: int = 0,
    ) -> None:
        self.number = number
        self.id = id
        self.offset = offset
        self.due_ms = due_ms
        self.value = value
        self.headers = headers
        self.republish = republish
        self.tried = tried
        self.written_ms = written_ms
        self.lane = lane
        self.schedule: Schedule | None = None


class DueQueue:
    """What is due, on its way from the scheduler to the producer; in order, with a bound."""

    def __init__(self, room: int = QUEUE_ROOM) -> None:
        self._room = room
        self._waiting: deque[Due] = deque()
        self._condition = threading.Condition()
        self._last_was_full = False

    def full(self) -> bool:
        """Whether whoever fills it should wait."""
        return len(self._waiting) >= self._room

    def has_backlog(self) -> bool:
        """Whether the last batch was as large as one can be: then there is more where it was."""
        return self._last_was_full

    def put(self, batch: Sequence[Due]) -> None:
        """Hand some over; never blocks, never loses."""
        with self._condition:
            self._waiting.extend(batch)
            self._condition.notify()

    def take(self, limit: int, timeout_seconds: float) -> list[Due]:
        """Wait until there is something, then take what is there, ``limit`` at most."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting, timeout_seconds)
            count = min(limit, len(self._waiting))
            self._last_was_full = count == BATCH
            return [self._waiting.popleft() for _ in range(count)]
