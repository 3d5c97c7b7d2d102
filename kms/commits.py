"""When what is folded goes into the store, and what the claims are told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future

from kms.claims import Claims
from kms.partition import FoldingPartition
from kms.store import Folded, Writer

# Large SQLite transactions are faster (design section 5), but nothing can fire, or be void, before
# it is committed. So: at once, unless more comes in than small ones could keep up with.
_MOST_RECORDS = 50_000
_MOST_WHILE_FIRING = 30_000  # what is fired takes memory until its tombstones are committed
_LARGE_RECORDS = 10_000
_LONGEST_SECONDS = 0.5
_SMALL_ONES = 20_000  # records a second

_State = tuple[FoldingPartition, int, int]  # up to where: next offset, seen at (ms)


class Commits:
    """Commits for the consumer thread; large lots in the background while it folds on.

    Nobody else may use the writer while one ``runs``.
    """

    def __init__(self, writer: Writer, claims: Claims, is_firing: Callable[[], bool]) -> None:
        """``is_firing`` says whether much is being fired."""
        self.waiting = 0  # records folded and not committed
        self._writer = writer
        self._claims = claims
        self._is_firing = is_firing
        self._at = time.monotonic()
        self._running: tuple[Future[dict[int, Folded]], list[_State]] | None = None

    def runs(self) -> bool:
        """Whether one is being written in the background."""
        return self._running is not None

    def is_due(self, *, more: bool, silence: bool) -> bool:
        """Whether to commit now: ``more`` is there to be polled, or there was ``silence``."""
        is_full = self.waiting >= (_MOST_WHILE_FIRING if self._is_firing() else _MOST_RECORDS)
        if self.runs():  # it would wait for that; what comes meanwhile goes into the next
            return is_full
        seconds = time.monotonic() - self._at
        return (
            silence
            or is_full
            or seconds >= _LONGEST_SECONDS
            or (not more and self.waiting <= seconds * _SMALL_ONES)
        )

    def commit(self, parts: Iterable[FoldingPartition], *, wait: bool = True) -> None:
        """Write what these partitions have folded; without ``wait`` maybe in the background."""
        self.finish()
        states = [(part, part.next_offset, part.seen_ms) for part in parts if part.is_dirty()]
        is_large = self.waiting >= _LARGE_RECORDS
        self._at = time.monotonic()
        self.waiting = 0
        if not states:
            return
        rows = [part.rows for part, _, _ in states]
        next_offsets = {part.number: offset for part, offset, _ in states}
        seen_ms = {part.number: seen for part, _, seen in states}
        if is_large and not wait:
            future = self._writer.commit_in_background(rows, next_offsets, seen_ms)
            self._running = future, states
        else:
            self._tell(self._writer.commit(rows, next_offsets, seen_ms), states)

    def finish(self, *, wait: bool = True) -> None:
        """Take over the end of what ran in the background, if it is there."""
        if self._running is not None and (wait or self._running[0].done()):
            (future, states), self._running = self._running, None
            self._tell(future.result(), states)

    def _tell(self, folded: Mapping[int, Folded], states: Iterable[_State]) -> None:
        for number, change in folded.items():
            # In this order: a claim that is void now must not hide the row that replaced it.
            self._claims.folded(number, change.offsets)
            if change.earliest is not None:
                self._claims.stored(number, change.earliest)
        for part, next_offset, seen_ms in states:
            part.rows.written()
            # Last: Assignment.snapshot promises claims that are not older.
            part.committed(next_offset, seen_ms)
