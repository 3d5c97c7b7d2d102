"""The cache of an instance: what a crash leaves behind of it, and what the oracle wants to know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kms.claims import BEFORE_ALL, Position
from kms.due import Due
from kms.schedule import Row
from kms.store import Checkpoint, Folded
from tests.model.steps import pause, rest

if TYPE_CHECKING:
    from tests.model.instance import Instance


@dataclass(frozen=True)
class Cache:
    """What the cache file holds, as of one commit; never changed.

    ``read`` is for the oracle: the offsets that were folded, compaction had left so many.
    ``lanes`` are the rows that wait in one: which, by partition, id and offset.
    """

    checkpoints: Mapping[int, Checkpoint] = field(default_factory=dict)
    rows: Mapping[int, Mapping[bytes, Row]] = field(default_factory=dict)
    read: Mapping[int, frozenset[int]] = field(default_factory=dict)
    lanes: Mapping[tuple[int, bytes, int], int] = field(default_factory=dict)
    topics: Mapping[int, str] = field(default_factory=dict)  # of the lanes


class Rows:
    """Stands in for kms.store.PartitionRows."""

    def __init__(self, store: Store, number: int) -> None:
        self.number = number
        self.changed: dict[bytes, Row | None] = {}
        self.sealed: dict[bytes, Row | None] = {}
        self._store = store

    def get(self, schedule_id: bytes) -> Row | None:
        for recent in (self.changed, self.sealed):
            if schedule_id in recent:
                return recent[schedule_id]
        due = self._store.owner.claims.held(self.number, schedule_id)
        if due is not None:
            return Row(due.offset, due.due_ms, due.value, due.headers, due.republish)
        return self._store.cache.rows[self.number].get(schedule_id)

    def __setitem__(self, schedule_id: bytes, row: Row) -> None:
        self.changed[schedule_id] = row

    def __delitem__(self, schedule_id: bytes) -> None:
        self.changed[schedule_id] = None

    def seal(self) -> None:
        self.sealed, self.changed = self.changed, {}

    def written(self) -> None:
        self.sealed = {}


class Patient(Future[dict[int, Folded]]):
    """Waiting for it takes no time, but others come in."""

    def result(self, timeout: float | None = None) -> dict[int, Folded]:
        while not self.done():
            rest()
        return super().result(timeout)


class Store:
    """Stands in for kms.store.Writer and Reader; ``cache`` is what a crash leaves behind.

    A partition's number in the store is its number in the topic.
    """

    def __init__(self, owner: Instance, cache: Cache) -> None:
        self.cache = self.before = cache
        self.owner = owner

    def checkpoint(self, _topic: str, partition: int) -> Checkpoint | None:
        return self.cache.checkpoints.get(partition)

    def restart(
        self, topic: str, partition: int, topic_id: str, cluster_id: str, next_offset: int
    ) -> Checkpoint:
        now_ms = self.owner.world.clock.now_ms
        known = Checkpoint(partition, topic, partition, topic_id, cluster_id, next_offset, now_ms)
        self._write({partition: known}, {partition: {}}, {partition: frozenset()})
        return known

    def rows(self, number: int) -> Rows:
        return Rows(self, number)

    def commit(
        self,
        rows: Collection[Rows],
        next_offsets: Mapping[int, int],
        seen_ms: Mapping[int, int],
    ) -> dict[int, Folded]:
        for part in rows:
            part.seal()
        return self._commit(rows, next_offsets, seen_ms)

    def commit_in_background(
        self,
        rows: Collection[Rows],
        next_offsets: Mapping[int, int],
        seen_ms: Mapping[int, int],
    ) -> Patient:
        for part in rows:
            part.seal()
        future = Patient()

        def write() -> None:
            pause()
            future.set_result(self._commit(rows, next_offsets, seen_ms))

        self.owner.look_up(write)
        return future

    def due(
        self, number: int, after: Position, until_ms: int, limit: int, lane: int = 0
    ) -> list[Due]:
        found = [
            it
            for it in self._dues(number)
            if it.due_ms <= until_ms
            and _position(it) > after
            and not it.republish
            and it.lane == lane
        ]
        pause()
        return sorted(found, key=_position)[:limit]

    def overtaken(self, number: int, _limit: int) -> list[Due]:
        found = [due for due in self._dues(number) if due.republish]
        pause()
        return found

    # Nothing of the model's is refused.

    def again(self, *_of: object) -> tuple[list[Due], Position]:
        return [], BEFORE_ALL

    def next_again_ms(self, _number: int) -> int | None:
        return None

    def set_aside(self, lane: int, topic: str, rows: Collection[Due]) -> None:
        pause()
        cache = self.cache
        found = {
            (due.number, due.id, due.offset): lane
            for due in rows
            for row in [cache.rows[due.number].get(due.id)]
            if row is not None and row.offset == due.offset and not row.republish
        }
        lanes, topics = {**cache.lanes, **found}, {**cache.topics, lane: topic}
        self.before, self.cache = cache, replace(cache, lanes=lanes, topics=topics)
        if found:
            self.owner.says(f"lets {', '.join(f'p{n}@{at}' for n, _, at in found)} wait")
        pause()

    def remember_pauses(self, _since_ms: Mapping[str, int]) -> None:
        pass

    def was_changed(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def _commit(
        self,
        rows: Collection[Rows],
        next_offsets: Mapping[int, int],
        seen_ms: Mapping[int, int],
    ) -> dict[int, Folded]:
        found, changes = {}, {}
        for part in rows:
            if part.sealed:
                merged = {**self.cache.rows[part.number], **part.sealed}
                changes[part.number] = {i: row for i, row in merged.items() if row is not None}
                found[part.number] = _folded(part.sealed)
        checkpoints = {
            number: self.cache.checkpoints[number]._replace(
                next_offset=offset, seen_ms=seen_ms[number]
            )
            for number, offset in next_offsets.items()
        }
        delivered = self.owner.reader.delivered
        read = {
            number: self.cache.read[number] | {it for it in delivered[number] if it < offset}
            for number, offset in next_offsets.items()
        }
        self._write(checkpoints, changes, read)
        self.owner.stored(next_offsets, found)
        pause()
        return found

    def _dues(self, number: int) -> list[Due]:
        rows = self.cache.rows[number].items()
        return [
            Due(
                *(number, i, row.offset, row.due_ms, row.value, row.headers, row.republish),
                lane=self.cache.lanes.get((number, i, row.offset), 0),
            )
            for i, row in rows
        ]

    def _write(
        self,
        checkpoints: Mapping[int, Checkpoint],
        rows: Mapping[int, Mapping[bytes, Row]],
        read: Mapping[int, frozenset[int]],
    ) -> None:
        self.before = cache = self.cache
        self.cache = replace(
            cache,
            checkpoints={**cache.checkpoints, **checkpoints},
            rows={**cache.rows, **rows},
            read={**cache.read, **read},
        )


def _folded(changed: Mapping[bytes, Row | None]) -> Folded:
    rows = [row for row in changed.values() if row is not None]
    earliest = min(((row.due_ms, row.offset) for row in rows), default=None)
    return Folded({i: row and row.offset for i, row in changed.items()}, earliest)


def _position(due: Due) -> Position:
    return due.due_ms, due.offset
