"""What stands between the service's code and the model of Kafka, but for its producer.

Each has the methods of the class it stands in for, and pauses where another thread, another
instance or the broker may come in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from kms.errors import FencedError, RetriableKafkaError
from kms.kafka import Polled, TopicInfo, TopicPartition
from kms.schedule import Record
from tests.model import rules
from tests.model.kafka import CLUSTER_ID, TOPIC, TOPIC_ID
from tests.model.steps import pause

if TYPE_CHECKING:
    from tests.model.instance import Instance
    from tests.model.world import World

MORE_WAITS = 5_000  # what a poll says that was full


class Admin:
    """Stands in for kms.kafka.Admin."""

    def __init__(self, owner: Instance) -> None:
        self._world = owner.world

    def cluster_id(self) -> str:
        return CLUSTER_ID

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo | None]:
        count = len(self._world.kafka.schedules)
        return {name: TopicInfo(name, TOPIC_ID, count) for name in names}

    def config(self, _topic: str) -> dict[str, str]:
        kept_ms = self._world.retention_ms if self._world.has(rules.RETENTION) else 10**15
        return {"delete.retention.ms": str(kept_ms)}


class Offsets:
    """Stands in for kms.kafka.Offsets."""

    def __init__(self, owner: Instance) -> None:
        self._world = owner.world
        self._kafka = owner.world.kafka

    def starts(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def high_watermarks(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        if not self._world.has(rules.HIGH_WATERMARK):
            return self.stable_ends(partitions)
        return {where: self._kafka.schedules[where.partition].end for where in partitions}

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {where: self._kafka.schedules[where.partition].stable_end for where in partitions}

    def await_stable_group(self, partitions: Collection[TopicPartition]) -> None:
        parts = [where.partition for where in partitions]
        if self._world.has(rules.STABLE_WAIT) and not self._kafka.group.is_stable(parts):
            raise RetriableKafkaError("there are pending offsets")
        pause()


class Stretches:
    """Stands in for kms.kafka.StretchReader."""

    def __init__(self, world: World) -> None:
        self._world = world

    def keys(
        self, starts: Mapping[TopicPartition, int], _timeout_seconds: float
    ) -> list[tuple[TopicPartition, bytes]]:
        found = []
        for where, start in starts.items():
            pause()
            keys = self._world.kafka.schedules[where.partition].keys(start)
            # Without the rule: as if each copy were alone there.
            found += [
                (where, key) for key in (keys if self._world.has(rules.COPY_CHECK) else set(keys))
            ]
        pause()
        return found


class Pool:
    """Stands in for the executor of kms.lookups: each task is a thread of its own."""

    def __init__(self, owner: Instance) -> None:
        self._owner = owner

    def submit(self, task: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._owner.look_up(lambda: future.set_result(task(*args)))
        return future


class Reader:
    """Stands in for kms.kafka.TopicReader: a member of the group, with its fetch positions."""

    def __init__(self, owner: Instance) -> None:
        self.group_metadata: tuple[str, int] | None = None
        self.positions: dict[TopicPartition, int] = {}
        self.delivered: dict[int, set[int]] = defaultdict(set)
        self._owner = owner
        self._world = owner.world
        self._group = owner.world.kafka.group
        self.member = self._group.join(owner.name, static=owner.world.static)

    def poll(self, _limit: int, _timeout_seconds: float) -> Polled:
        self._serve()
        records: dict[TopicPartition, list[Record]] = {}
        ends = {}
        for where, position in self.positions.items():
            log = self._world.kafka.schedules[where.partition]
            found, self.positions[where], at_end = log.read(position, self._owner.limit)
            if found:
                self.delivered[where.partition].update(it.offset for it in found)
                records[where] = list(found)
            if at_end:
                ends[where] = self.positions[where]
        pause()
        self._take_metadata()
        count = MORE_WAITS if self._owner.busy else 0
        return Polled(records, ends, frozenset(), count)

    def read_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        for where, offset in offsets.items():
            self._owner.says(f"reads p{where.partition} again from {offset}")
            self._begin_at(where.partition)
        self.positions.update(offsets)

    def _begin_at(self, number: int) -> None:
        self.delivered[number].clear()
        self._owner.taking_over(number)

    def _serve(self) -> None:
        """Tell the application what the group decided; more may be decided meanwhile."""
        while True:
            seat = self._group.seats.get(self.member)
            if seat is None:
                self._rejoin()
            elif seat.told:
                return
            else:
                held = set(seat.held)
                gone = [it for it in self.positions if it.partition not in seat.assigned]
                if gone:
                    self._give_up(gone, self._owner.consumer.revoked)
                    seat.held.difference_update(it.partition for it in gone)
                if seat is self._group.seats.get(self.member):
                    self._take_over(sorted(seat.assigned - held))
                    seat.held.update(seat.assigned)
                    seat.told = True
            pause()

    def _rejoin(self) -> None:
        if self.positions:
            self._give_up(list(self.positions), self._owner.consumer.lost)
        if self._world.static and any(
            seat.name == self._owner.name for seat in self._group.seats.values()
        ):
            raise FencedError("another process has this instance's id")
        self.member = self._group.join(self._owner.name, static=self._world.static)

    def _give_up(
        self, gone: list[TopicPartition], tell: Callable[[list[TopicPartition]], None]
    ) -> None:
        self._owner.says(f"gives up {', '.join(f'p{it.partition}' for it in gone)}")
        tell(gone)
        for where in gone:
            del self.positions[where]

    def _take_over(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            self._begin_at(number)
        where = [TopicPartition(TOPIC, number) for number in partitions]
        offsets = self._owner.consumer.assigned(where)
        self.positions.update(offsets)
        for each, offset in offsets.items():
            self._owner.says(f"is given p{each.partition} and reads it from {offset}")

    def _take_metadata(self) -> None:
        seat = self._group.seats.get(self.member)
        if seat is not None:
            self.group_metadata = (self.member, seat.generation)
