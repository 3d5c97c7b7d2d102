"""Schedules in, messages out: on time, in order, byte for byte."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable

import avro.io
import avro.schema

from kms.formats import AVRO, schema_json
from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]


def test_several_topics_of_several_partitions(cluster: Cluster, instance: MakeInstance) -> None:
    topics = [cluster.schedule_topic(partitions) for partitions in (3, 1, 4)]
    target = cluster.topic(2)
    expected = set()
    for topic in topics:
        for number in range(20):
            value = f"{topic} {number}".encode()
            cluster.schedule(
                topic, b"id-%d" % number, Schedule(now_ms() + 50 * number, target, b"k", value)
            )
            expected.add(value)
    cluster.flush()
    kms = instance(topics).start()
    arrived = cluster.arrived(target, len(expected))
    assert sorted(it.value or b"" for it in arrived) == sorted(expected)
    assert kms.metrics()["kms_assigned_partitions"] == 8
    assert kms.metrics()["kms_caught_up"] == 1


def test_fires_on_time_and_never_early(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(2), cluster.topic()
    instance([topic]).start().caught_up(2)
    start = now_ms()
    due = {b"k%d" % number: start + 300 + 37 * number for number in range(40)}
    for key, due_ms in due.items():
        cluster.schedule(topic, b"id-" + key, Schedule(due_ms, target, key, b"v"))
    cluster.flush()
    arrived = {it.key or b"": it for it in cluster.arrived(target, len(due))}
    lateness_ms = sorted(arrived[key].timestamp_ms - due_ms for key, due_ms in due.items())
    assert lateness_ms[0] >= 0, "fired early"
    assert lateness_ms[len(lateness_ms) // 2] < 1_000


def test_past_schedules_fire_at_once_oldest_first(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    due = [now_ms() - 1000 * number for number in range(1, 200)] + [0, 1, -5]
    random.Random(1).shuffle(due)
    for due_ms in due:
        cluster.schedule(topic, b"%d" % due_ms, Schedule(due_ms, target, b"", b"%d" % due_ms))
    cluster.flush()
    instance([topic]).start()
    arrived = [int(it.value or b"") for it in cluster.arrived(target, len(due))]
    assert arrived == sorted(due)


def test_order_of_due_time_within_a_partition(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    instance([topic]).start().caught_up()
    start = now_ms() + 1_500
    due = [start + number for number in range(500)]
    shuffled = random.Random(2).sample(due, len(due))
    for due_ms in shuffled:
        cluster.schedule(topic, b"%d" % due_ms, Schedule(due_ms, target, b"k", b"%d" % due_ms))
    cluster.flush()
    assert now_ms() < start, "too slow to be a test of order"
    assert [int(it.value or b"") for it in cluster.arrived(target, len(due))] == due


def test_an_update_replaces_and_a_null_cancels(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    kms = instance([topic]).start().caught_up()
    soon = now_ms() + 2_000
    for schedule_id in (b"updated", b"cancelled", b"kept", b"sooner"):
        cluster.schedule(topic, schedule_id, Schedule(soon, target, schedule_id, b"old"))
    cluster.schedule(topic, b"updated", Schedule(soon + 300, target, b"updated", b"new"))
    cluster.schedule(topic, b"sooner", Schedule(now_ms(), target, b"sooner", b"new"))
    cluster.write(topic, b"cancelled", None)
    cluster.flush()
    cluster.schedule(topic, b"last", Schedule(soon + 600, target, b"last", b"end"))
    cluster.flush()
    arrived = cluster.arrived(target, 4)
    assert [(it.key, it.value) for it in arrived] == [
        (b"sooner", b"new"),
        (b"kept", b"old"),
        (b"updated", b"new"),
        (b"last", b"end"),
    ]
    assert kms.metrics()[f'kms_schedules_cancelled_total{{schedule_topic="{topic}"}}'] == 1
    assert kms.metrics()[f'kms_schedules_fired_total{{topic="{target}"}}'] == 4


def test_key_value_and_headers_arrive_byte_for_byte(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    source = random.Random(3)
    sent = [
        Schedule(0, target, b"", b"", ()),
        Schedule(1, target, b"\x00\xff", None, (("empty", b""), ("bytes", b"\x00\xfe"))),
        Schedule(2, target, source.randbytes(300), source.randbytes(100_000), (("ü", b"x"),)),
        *(
            Schedule(3 + n, target, source.randbytes(9), source.randbytes(50), (("h", b"%d" % n),))
            for n in range(20)
        ),
    ]
    for number, schedule in enumerate(sent):
        cluster.schedule(topic, b"%d" % number, schedule)
    cluster.flush()
    instance([topic]).start()
    arrived = cluster.arrived(target, len(sent))
    assert [(it.key, it.value, tuple(it.headers)) for it in arrived] == [
        (it.key, it.value, it.headers) for it in sent
    ]


def test_avro_of_another_encoder_with_and_without_headers(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    description = json.loads(schema_json())
    newer = avro.schema.make_avsc_object(description)
    assert description["fields"].pop()["name"] == "headers"
    older = avro.schema.make_avsc_object(description)
    record = {"time": 1, "topic": target, "key": b"k", "value": b"v", "headers": {"a": b"1"}}
    cluster.write(topic, b"newer", _encoded(newer, record))
    cluster.write(topic, b"null", _encoded(newer, record | {"time": 2, "value": None}))
    del record["headers"]
    cluster.write(topic, b"older", _encoded(older, record | {"time": 3}))
    cluster.write(topic, b"older null", _encoded(older, record | {"time": 4, "value": None}))
    cluster.flush()
    instance([topic]).start()
    arrived = cluster.arrived(target, 4)
    assert [(it.key, it.value, it.headers) for it in arrived] == [
        (b"k", b"v", [("a", b"1")]),
        (b"k", None, [("a", b"1")]),
        (b"k", b"v", []),
        (b"k", None, []),
    ]


def test_a_schedule_can_make_a_schedule(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    inner = AVRO.encode_value(Schedule(now_ms() + 500, target, b"k", b"inner"))
    cluster.schedule(topic, b"outer", Schedule(0, topic, b"inner", inner))
    cluster.flush()
    kms = instance([topic]).start()
    assert [it.value for it in cluster.arrived(target, 1)] == [b"inner"]
    pending = f'kms_schedules_pending{{partition="0",schedule_topic="{topic}"}}'
    wait_for("nothing pending", lambda: kms.metrics()[pending] == 0)
    assert kms.metrics()[f'kms_schedules_fired_total{{topic="{topic}"}}'] == 1


def _encoded(schema: avro.schema.Schema, record: dict[str, object]) -> bytes:
    out = io.BytesIO()
    avro.io.DatumWriter(schema).write(record, avro.io.BinaryEncoder(out))
    return out.getvalue()
