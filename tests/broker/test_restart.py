"""Starting: everything is folded before anything fires, and the cache saves the work."""

from __future__ import annotations

from collections.abc import Callable

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]


def test_what_was_fired_but_not_compacted_is_not_fired_again(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(2), cluster.topic()
    for number in range(200):
        cluster.schedule(topic, b"%d" % number, Schedule(0, target, b"", b"%d" % number))
    cluster.flush()
    first = instance([topic]).start()
    cluster.arrived(target, 200)
    assert first.stop() == 0
    # Without the cache, all 200 records and their tombstones are read again.
    second = instance([topic], group=first.group).start().caught_up(2)
    cluster.schedule(topic, b"end", Schedule(now_ms(), target, b"", b"end"))
    cluster.flush()
    arrived = cluster.arrived(target, 201)
    assert len(arrived) == 201
    received = second.metrics()[f'kms_records_received_total{{schedule_topic="{topic}"}}']
    assert received >= 400


def test_what_was_cancelled_or_updated_while_down_is_respected(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    kms = instance([topic]).start().caught_up()
    soon = now_ms() + 5_000
    for schedule_id in (b"cancelled", b"updated", b"kept"):
        cluster.schedule(topic, schedule_id, Schedule(soon, target, schedule_id, b"old"))
    cluster.flush()
    wait_for("three pending", lambda: _pending(kms, topic) == 3, 10)
    assert now_ms() < soon, "too slow to be a test of what happens while down"
    assert kms.stop() == 0
    cluster.write(topic, b"cancelled", None)
    cluster.schedule(topic, b"updated", Schedule(soon, target, b"updated", b"new"))
    cluster.flush()
    wait_for("all are due", lambda: now_ms() > soon)
    kms.start()
    arrived = cluster.arrived(target, 2)
    assert sorted((it.key, it.value) for it in arrived) == [(b"kept", b"old"), (b"updated", b"new")]


def test_the_cache_resumes_from_its_checkpoint(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    for number in range(1_000):
        due_ms = now_ms() + 3_600_000
        cluster.schedule(topic, b"%d" % number, Schedule(due_ms, target, b"", b"far"))
    cluster.flush()
    kms = instance([topic]).start().caught_up()
    assert kms.stop() == 0
    for number in range(7):
        cluster.schedule(topic, b"new %d" % number, Schedule(0, target, b"", b"%d" % number))
    cluster.flush()
    kms.start()
    cluster.arrived(target, 7)
    metrics = kms.metrics()
    received = metrics[f'kms_records_received_total{{schedule_topic="{topic}"}}']
    assert 7 <= received <= 14, "read more than what changed, and its own tombstones"
    assert _pending(kms, topic) in (1_000, 1_007)


def test_a_killed_instance_resumes_with_what_it_had(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    kms = instance([topic], KMS_SESSION_TIMEOUT_MS="6000").start().caught_up()
    soon = now_ms() + 5_000
    for number in range(50):
        cluster.schedule(topic, b"%d" % number, Schedule(soon, target, b"", b"%d" % number))
    cluster.flush()
    wait_for("fifty pending", lambda: _pending(kms, topic) == 50, 10)
    kms.kill()
    kms.start()
    arrived = cluster.arrived(target, 50)
    assert sorted(int(it.value or b"") for it in arrived) == list(range(50))
    assert all(it.timestamp_ms >= soon for it in arrived)


def test_a_topic_made_again_under_the_same_name_is_read_anew(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    cluster.schedule(topic, b"old", Schedule(now_ms() + 3_600_000, target, b"", b"old"))
    cluster.flush()
    kms = instance([topic]).start().caught_up()
    assert kms.stop() == 0
    cluster.admin.delete_topics([topic])[topic].result()
    wait_for("the topic to go", lambda: topic not in cluster.admin.list_topics(timeout=10).topics)
    cluster.schedule_topic(name=topic)
    cluster.schedule(topic, b"new", Schedule(0, target, b"", b"new"))
    cluster.flush()
    kms.start()
    assert [it.value for it in cluster.arrived(target, 1)] == [b"new"]
    assert kms.log.count("the topic was deleted and made again") == 1
    wait_for("nothing pending", lambda: _pending(kms, topic) == 0, 10)


def test_the_service_waits_for_a_schedule_topic_that_is_not_there_yet(
    cluster: Cluster, instance: MakeInstance
) -> None:
    existing, target = cluster.schedule_topic(), cluster.topic()
    late = f"{existing}-late"
    kms = instance([existing, late]).start()
    kms.wait_for_log(f"Schedule topic {late} does not exist")
    cluster.schedule(existing, b"id", Schedule(0, target, b"", b"first"))
    cluster.flush()
    cluster.arrived(target, 1)
    cluster.schedule_topic(name=late)
    cluster.schedule(late, b"id", Schedule(0, target, b"", b"second"))
    cluster.flush()
    arrived = cluster.arrived(target, 2, seconds=60)
    assert sorted(it.value or b"" for it in arrived) == [b"first", b"second"]


def _pending(kms: Instance, topic: str) -> float:
    metrics = kms.metrics()
    name = "kms_schedules_pending{"
    return sum(v for k, v in metrics.items() if k.startswith(name) and topic in k)
