"""What has been handed out to be fired and has not come home yet.

Pure bookkeeping in memory, shared by the three threads: the consumer opens and closes partitions
and reports what it folded, the scheduler takes, the producer checks, ends and gives back.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from kms.due import Due

Position = tuple[int, int]  # (due_ms, offset): the order in which a partition's rows are taken

BEFORE_ALL: Position = (-(2**63), -1)
_AFTER_ALL: Position = (2**63, 0)


class _Lane:
    __slots__ = ("cursor", "low")

    def __init__(self) -> None:
        self.cursor = BEFORE_ALL  # all up to here was looked at
        self.low = _AFTER_ALL  # the first position that must be looked at again

    def start(self) -> Position:
        return min(self.cursor, _just_before(self.low))


class _Partition:
    __slots__ = ("claimed", "lanes", "since")

    def __init__(self) -> None:
        self.claimed: dict[bytes, Due] = {}
        # What was folded since the search that runs was started; None while none runs.
        self.since: dict[bytes, int | None] | None = None
        self.lanes: defaultdict[int, _Lane] = defaultdict(_Lane)


class Claims:
    """The claims of every open partition; a partition is known by its number in the store.

    A row is claimed from the moment it is taken until the fold replaces or removes it, its
    transaction is aborted, or its partition is closed. ``changed`` is called, outside the lock,
    whenever there may be something new to take. Safe to use from any thread.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self._partitions: dict[int, _Partition] = {}
        self._firing: set[int] = set()  # the partitions of the transaction that is running
        self._condition = threading.Condition()

    def open(self, number: int) -> None:
        """Let a partition's rows be taken, from the first one on."""
        with self._condition:
            self._partitions[number] = _Partition()
        self.changed()

    def close(self, numbers: Iterable[int], timeout_seconds: float = 0.0) -> bool:
        """Stop taking from these partitions, drop their claims, wait for a running transaction.

        Returns False if a transaction that touches them still runs after the timeout.
        """
        numbers = set(numbers)
        with self._condition:
            for number in numbers:
                self._partitions.pop(number, None)
            return self._condition.wait_for(
                lambda: not (numbers & self._firing), timeout=timeout_seconds
            )

    def open_numbers(self) -> list[int]:
        """The partitions that may fire."""
        with self._condition:
            return list(self._partitions)

    def count(self) -> int:
        """How many rows are claimed."""
        with self._condition:
            return sum(len(partition.claimed) for partition in self._partitions.values())

    def held(self, number: int, schedule_id: bytes) -> Due | None:
        """What is claimed under this id: for the consumer, the row as it last committed it.

        Without the lock: only the consumer makes a claim untrue, and it asks between two commits.
        """
        partition = self._partitions.get(number)
        return None if partition is None else partition.claimed.get(schedule_id)

    def stored(self, number: int, earliest: Position, lane: int = 0) -> None:
        """The store now has new rows in this partition's lane, none of them before ``earliest``.

        Called after the rows were committed: a taker that read before that looks again.
        """
        with self._condition:
            partition = self._partitions.get(number)
            if partition is None:
                return
            partition.lanes[lane].low = min(partition.lanes[lane].low, earliest)
        self.changed()

    def folded(self, number: int, offsets: Mapping[bytes, int | None]) -> None:
        """The store now has these offsets under these ids, None where a row was removed.

        What was claimed of a row that is not there any more is void, and so is what a search
        that runs read of it before. A claim of the very row that was just stored stays: it was
        taken between the commit and this call.
        """
        with self._condition:
            partition = self._partitions.get(number)
            if partition is None:
                return
            claimed = partition.claimed
            for schedule_id in claimed.keys() & offsets.keys():
                if claimed[schedule_id].offset != offsets[schedule_id]:
                    del claimed[schedule_id]
            if partition.since is not None:
                partition.since.update(offsets)

    def start_of_search(self, number: int, lane: int = 0) -> Position | None:
        """After which position to look for rows of a lane to take; None if it is closed.

        Resets what ``stored`` asked for, so the caller must read the store after this call.
        """
        with self._condition:
            partition = self._partitions.get(number)
            if partition is None:
                return None
            found = partition.lanes[lane]
            found.cursor, found.low = found.start(), _AFTER_ALL
            partition.since = {}
            return found.cursor

    def next_search(self, number: int, lane: int = 0) -> Position | None:
        """Where the next search would start, without starting it; None if closed."""
        with self._condition:
            partition = self._partitions.get(number)
            if partition is None:
                return None
            return partition.lanes[lane].start()

    def take(
        self, number: int, found: Sequence[Due], searched_to: Position | None, lane: int = 0
    ) -> list[Due]:
        """Claim those of ``found`` that nobody holds; the search got as far as ``searched_to``.

        None says that it got nowhere. Ends the search that ``start_of_search`` began. Rows that
        were replaced or removed since are left out: what fired them is home already, and a second
        claim would fire them again. So is everything, if the partition was closed and opened since.
        """
        with self._condition:
            partition = self._partitions.get(number)
            if partition is None or partition.since is None:
                return []
            claimed, since = partition.claimed, partition.since
            taken = []
            for due in found:
                if due.id not in claimed and since.get(due.id, due.offset) == due.offset:
                    claimed[due.id] = due
                    taken.append(due)
            if searched_to is not None:
                partition.lanes[lane].cursor = max(partition.lanes[lane].cursor, searched_to)
            partition.since = None
            return taken

    def begin(self, batch: Sequence[Due]) -> list[Due]:
        """Those of the batch that are still to be fired; a transaction with them now runs.

        What was updated, cancelled or given up since it was taken is left out. Whoever calls
        this must call ``end`` or ``give_back`` next.
        """
        with self._condition:
            valid = [due for due in batch if self._holds(due)]
            self._firing = {due.number for due in valid}
            return valid

    def end(self) -> None:
        """The transaction ended: what was fired stays claimed until its tombstone is folded."""
        with self._condition:
            self._end()

    def give_back(self, batch: Iterable[Due]) -> None:
        """These were not fired: whoever looks next may take them again."""
        with self._condition:
            for due in batch:
                if self._holds(due):
                    partition = self._partitions[due.number]
                    del partition.claimed[due.id]
                    lane = partition.lanes[due.lane]
                    lane.low = min(lane.low, (due.due_ms, due.offset))
            self._end()
        self.changed()

    def release(self, batch: Iterable[Due]) -> None:
        """The store says from now on when these are to be taken again.

        A search that runs may have read them as they were before: it must not take them.
        """
        with self._condition:
            for due in batch:
                if self._holds(due):
                    partition = self._partitions[due.number]
                    del partition.claimed[due.id]
                    if partition.since is not None:
                        partition.since[due.id] = None

    def _holds(self, due: Due) -> bool:
        partition = self._partitions.get(due.number)
        return partition is not None and partition.claimed.get(due.id) is due

    def _end(self) -> None:
        self._firing = set()
        self._condition.notify_all()


def _just_before(position: Position) -> Position:
    return (position[0], position[1] - 1)
