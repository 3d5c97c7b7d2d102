"""A schedule that is due, and the queue that takes it from the scheduler to the producer."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import NamedTuple

from kms.schedule import Header

QUEUE_ROOM = 10_000  # handed over and not yet in a transaction; more would only use memory


class Tried(NamedTuple):
    """What is known of a schedule's failed attempts: how many, since when, and the last reason."""

    attempts: int
    since_ms: int
    reason: str


class Due:
    """A schedule that was handed out: to be fired, or (``republish``) written once more.

    ``tried`` is None before the first failed attempt. Its identity is the claim: another object
    for the same row is another claim.
    """

    __slots__ = ("due_ms", "headers", "id", "number", "offset", "republish", "tried", "value")

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
    ) -> None:
        self.number = number
        self.id = id
        self.offset = offset
        self.due_ms = due_ms
        self.value = value
        self.headers = headers
        self.republish = republish
        self.tried = tried


class DueQueue:
    """What is due, on its way from the scheduler to the producer; in order, with a bound."""

    def __init__(self, room: int = QUEUE_ROOM) -> None:
        self._room = room
        self._queue: SimpleQueue[Due] = SimpleQueue()

    def full(self) -> bool:
        """Whether whoever fills it should wait."""
        return self._queue.qsize() >= self._room

    def put(self, due: Due) -> None:
        """Hand one over; never blocks, never loses."""
        self._queue.put(due)

    def take(self, limit: int, timeout_seconds: float) -> list[Due]:
        """Wait for the first one, then take what is there, ``limit`` at most."""
        batch: list[Due] = []
        try:
            batch.append(self._queue.get(timeout=timeout_seconds))
            while len(batch) < limit:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass  # the batch is what was there
        return batch
