"""What was asked for and what a read_committed reader of the target saw: lost 0, twice 0."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance


class Ledger:
    """Schedules written to some topics for one target; their values are unique."""

    def __init__(self, cluster: Cluster, topics: Sequence[str], target: str) -> None:
        self.target = target
        self.due_ms: dict[bytes, int] = {}
        self._cluster = cluster
        self._topics = topics

    def add(self, count: int, due_ms: int | None = None, spread_ms: int = 0) -> None:
        """Write schedules due at ``due_ms`` (now) and over ``spread_ms`` after it, evenly."""
        start_ms = now_ms() if due_ms is None else due_ms
        for number in range(count):
            value = uuid.uuid4().hex.encode()
            due = start_ms + spread_ms * number // count
            topic = self._topics[number % len(self._topics)]
            self._cluster.schedule(topic, value, Schedule(due, self.target, value[:4], value))
            self.due_ms[value] = due
        self._cluster.flush()

    def seen(self) -> int:
        """How many messages the target has."""
        return len(self._cluster.read(self.target))

    def wait_for(self, share: float, seconds: float = 60.0) -> None:
        """Wait until this share of all has arrived."""
        wanted = int(share * len(self.due_ms))
        wait_for(f"{wanted} messages", lambda: self.seen() >= wanted, seconds)

    def settle(self, instances: Iterable[Instance], seconds: float = 60.0) -> None:
        """Wait for everything to arrive, end the instances, and demand that all came once.

        Instances are ended before the count: what is still to come must not be missed.
        """
        self.wait_for(1.0, seconds)
        for each in instances:
            each.wait_for_log("kms runs")  # before that, SIGTERM is Python's own business
            assert each.stop() == 0, each.log
        self.check()

    def check(self, twice: int = 0) -> None:
        """Lost 0, early 0, and at most ``twice`` came more than once."""
        arrived = self._cluster.read(self.target)
        counts = Counter(it.value for it in arrived)
        lost = self.due_ms.keys() - counts.keys()
        again = {value for value, count in counts.items() if count > 1}
        early = [it for it in arrived if it.timestamp_ms < self.due_ms[it.value or b""]]
        assert not lost, f"lost {len(lost)} of {len(self.due_ms)}"
        assert len(again) <= twice, f"twice {len(again)} of {len(self.due_ms)}"
        assert not early, f"early {len(early)}"
