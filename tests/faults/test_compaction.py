"""Compaction while running and while down: the same answers. Tombstones lie where they must."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import pytest

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance
from tests.faults.ledger import Ledger

MakeInstance = Callable[..., Instance]
FAST = {"KMS_SESSION_TIMEOUT_MS": "3000", "KMS_TRANSACTION_TIMEOUT_MS": "3000"}
PARTITIONERS: dict[str, Callable[[bytes, int], int]] = {
    "librdkafka's murmur2 or Java's": lambda _id, _count: -1,
    "crc32": lambda schedule_id, count: crc32(schedule_id) % count,
    "explicit": lambda _id, count: count - 1,
}


@pytest.mark.parametrize("partitioner", PARTITIONERS)
def test_tombstones_follow_their_records_and_compaction_empties_the_topic(
    cluster: Cluster, instance: MakeInstance, partitioner: str
) -> None:
    count = 5
    topic, target = cluster.compacted_topic(count), cluster.topic()
    chosen = PARTITIONERS[partitioner]
    ids = [b"id-%d" % number for number in range(200)]
    for schedule_id in ids:
        partition = chosen(schedule_id, count)
        schedule = Schedule(0, target, schedule_id, b"v")
        cluster.schedule(topic, schedule_id, schedule, partition=partition)
    cluster.flush()
    partitions = {it.key: it.partition for it in cluster.read(topic)}
    kms = instance([topic], **FAST).start()
    cluster.arrived(target, len(ids))
    tombstones = {it.key: it.partition for it in cluster.read(topic) if it.value is None}
    assert tombstones == partitions
    assert kms.stop() == 0

    def emptied() -> bool:
        _fill(cluster, topic, count)
        return all(it.value is None for it in cluster.read(topic))

    wait_for("every record to be compacted away", emptied, 60)
    assert len(cluster.read(target)) == len(ids)


def test_compaction_while_running_and_while_down(cluster: Cluster, instance: MakeInstance) -> None:
    topic = cluster.compacted_topic(2)
    ledger = Ledger(cluster, [topic], cluster.topic())
    kms = instance([topic], **FAST).start().caught_up(2)
    for _ in range(4):  # running
        ledger.add(500, spread_ms=500)
        _fill(cluster, topic, 2)
        ledger.wait_for(1.0)
    later_ms = now_ms() + 8_000
    ledger.add(500, due_ms=later_ms)
    assert kms.stop() == 0
    # Down for longer than delete.retention.ms, 1 s: the cache is too old to be believed.
    wait_for("the cleaner", lambda: _cleaned(cluster, topic, 500), 30)
    wait_for("the cache to age", lambda: now_ms() > later_ms)
    kms.start()
    kms.wait_for_log("delete.retention.ms", count=2)
    ledger.settle([kms])


def _cleaned(cluster: Cluster, topic: str, pending: int) -> bool:
    _fill(cluster, topic, 2)
    return sum(it.value is not None for it in cluster.read(topic)) == pending


def _fill(cluster: Cluster, topic: str, partitions: int) -> None:
    # A segment is rolled by the next write only, and the active one is never cleaned.
    for partition in range(partitions):
        cluster.write(topic, b"filler", None, partition=partition)
    cluster.flush()
