"""After a long outage: what is overdue fires at once, oldest first, and new ones get through."""

from __future__ import annotations

import random
from collections.abc import Callable

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]


def test_overdue_ones_fire_oldest_first_and_new_ones_are_not_starved(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    count = 60_000
    now = now_ms()
    overdue = [now - 86_400_000 + 1_000 * number for number in range(count)]
    random.Random(10).shuffle(overdue)
    for due_ms in overdue:
        cluster.schedule(topic, b"%d" % due_ms, Schedule(due_ms, target, b"", b"%d" % due_ms))
    cluster.flush()
    kms = instance([topic]).start()
    cluster.arrived(target, 1)
    written_ms = now_ms()
    cluster.schedule(topic, b"new", Schedule(written_ms, target, b"", b"new"))
    cluster.flush()
    arrived = cluster.arrived(target, count + 1, seconds=60)
    old = [int(it.value or b"") for it in arrived if it.value != b"new"]
    assert old == sorted(overdue)
    (new,) = [it for it in arrived if it.value == b"new"]
    assert new.timestamp_ms - written_ms < 20_000
    assert kms.stop() == 0
    assert len(cluster.read(target)) == count + 1
