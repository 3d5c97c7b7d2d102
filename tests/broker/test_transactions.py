"""One transaction a batch: target, tombstone on the record's own partition, offsets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kms.errors import AbortTransactionError, UndeliverableError
from kms.kafka import TransactionalWriter
from kms.schedule import Schedule, fired_headers, fired_of
from kms.settings import Settings
from tests.broker.cluster import Arrived, Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]


def test_tombstones_say_what_was_fired_on_the_records_own_partition(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(4), cluster.topic()
    for partition in range(4):  # the same id on each: no partitioner would do that
        cluster.schedule(topic, b"id", Schedule(0, target, b"", b"v"), partition=partition)
    cluster.flush()
    kms = instance([topic]).start()
    cluster.arrived(target, 4)
    topic_id = cluster.topic_id(topic)
    tombstones = _tombstones(cluster, topic)
    assert [(it.partition, it.offset, it.key) for it in tombstones] == [
        (partition, 1, b"id") for partition in range(4)
    ]
    for tombstone in tombstones:
        assert dict(tombstone.headers)["schedule:expired"] == b"true"
        assert fired_of(tombstone.headers) == (0, topic_id)
    assert kms.stop() == 0
    # Record, tombstone, and the marker of a committed transaction. The partitions are ready one
    # after the other, so there were one to four transactions, each with a marker in the target.
    assert [cluster.end_offset(topic, partition) for partition in range(4)] == [3] * 4
    assert 4 + 1 <= cluster.end_offset(target) <= 4 + 4


def test_the_offsets_of_what_was_fired_are_committed(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    for number in range(5):
        cluster.schedule(topic, b"%d" % number, Schedule(0, target, b"", b"v"))
    cluster.flush()
    kms = instance([topic]).start()
    cluster.arrived(target, 5)
    # The target's marker may be written before that of the offsets.
    wait_for("the offset", lambda: cluster.committed(kms.group, topic) >= 5)
    cluster.schedule(topic, b"late", Schedule(0, target, b"", b"v"))
    cluster.flush()
    cluster.arrived(target, 6)
    (late,) = [it.offset for it in cluster.read(topic) if it.key == b"late" and it.value]
    wait_for("the late one's", lambda: cluster.committed(kms.group, topic) == late + 1)


def test_a_target_message_and_its_tombstone_become_visible_together(
    cluster: Cluster, instance: MakeInstance
) -> None:
    """Wherever a reader looks, it sees as many firings as tombstones, or neither."""
    topic, target = cluster.schedule_topic(), cluster.topic()
    count = 3_000
    for number in range(count):
        cluster.schedule(topic, b"%d" % number, Schedule(0, target, b"", b"%d" % number))
    cluster.flush()
    instance([topic]).start()
    cluster.arrived(target, count)
    assert len(_tombstones(cluster, topic)) == count
    assert len(cluster.read(target, "read_uncommitted")) == count, "something was aborted"


def test_an_update_that_a_firing_overtook_is_published_again(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    due_ms = now_ms() + 4_000
    cluster.schedule(topic, b"id", Schedule(0, target, b"k", b"old"))
    cluster.schedule(topic, b"id", Schedule(due_ms, target, b"k", b"new"))
    cluster.flush()
    cluster.write(topic, b"id", None, headers=fired_headers(0, cluster.topic_id(topic)))
    cluster.flush()
    kms = instance([topic]).start()
    again = wait_for(
        "the update's second record",
        lambda: next((it for it in cluster.read(topic) if it.offset > 2), None),
    )
    records = cluster.read(topic)
    assert (again.key, again.value) == (b"id", records[1].value)
    assert now_ms() < due_ms, "too slow to be a test of re-publication"
    (arrived,) = cluster.arrived(target, 1)
    assert arrived.value == b"new"
    assert arrived.timestamp_ms >= due_ms
    assert kms.metrics()["kms_schedules_republished_total"] == 1
    last = _tombstones(cluster, topic)[-1]
    assert fired_of(last.headers) == (again.offset, cluster.topic_id(topic))


def test_a_tombstone_copied_from_another_topic_is_a_plain_one(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    elsewhere = cluster.schedule_topic()
    cluster.schedule(topic, b"gone", Schedule(0, target, b"", b"gone"))
    cluster.schedule(topic, b"kept", Schedule(0, target, b"", b"kept"))
    cluster.write(topic, b"gone", None, headers=fired_headers(0, cluster.topic_id(elsewhere)))
    cluster.flush()
    instance([topic]).start()
    assert [it.value for it in cluster.arrived(target, 1)] == [b"kept"]


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_both_ways_of_delivery_fire_and_tombstone(
    cluster: Cluster, instance: MakeInstance, delivery: str
) -> None:
    topic, target = cluster.schedule_topic(2), cluster.topic()
    for number in range(100):
        cluster.schedule(topic, b"%d" % number, Schedule(number, target, b"", b"%d" % number))
    cluster.flush()
    kms = instance([topic], KMS_DELIVERY=delivery).start()
    arrived = cluster.arrived(target, 100)
    assert sorted(int(it.value or b"") for it in arrived) == list(range(100))
    wait_for("tombstones", lambda: len(_tombstones(cluster, topic)) == 100)
    markers = cluster.end_offset(target) - 100
    assert (markers > 0) == (delivery == "exactly-once")
    assert kms.stop() == 0


def _tombstones(cluster: Cluster, topic: str) -> list[Arrived]:
    return [it for it in cluster.read(topic) if it.value is None]


def test_a_refusal_is_not_that_of_the_message_produced_next(cluster: Cluster) -> None:
    """librdkafka tells of it there: the transaction has failed by then."""
    small, other = cluster.topic(max_message_bytes="1000"), cluster.topic()
    writer = TransactionalWriter(Settings(kafka_brokers=cluster.bootstrap, kms_instance_id=other))
    writer.start(lambda: False)
    writer.begin()
    writer.produce(small, None, b"x" * 5_000, (), tag="large")
    writer.flush()
    with pytest.raises(AbortTransactionError) as caught:
        writer.produce(other, None, b"small", (), tag="innocent")
    assert isinstance(caught.value.__cause__, UndeliverableError)
    assert caught.value.__cause__.reason == "too-large"
    writer.abort()
    assert [it.tag for it in writer.refused()] == ["large"]
    writer.begin()
    writer.produce(other, None, b"small", (), tag="innocent")
    writer.commit({}, None)
    assert [it.value for it in cluster.read(other)] == [b"small"]
