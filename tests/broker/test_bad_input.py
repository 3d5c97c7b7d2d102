"""One bad schedule harms no other: the good ones fire once, the bad one ends as it should."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import confluent_kafka as ck

from kms.formats import AVRO
from kms.schedule import Schedule, fired_of
from tests.broker.cluster import Arrived, Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
GOOD = 5_000
SMALL = 2_000  # bytes that the target topic "small" takes at most
FAST = {"KMS_RETRY_PAUSE": "100ms", "KMS_RETRY_LONGEST_PAUSE": "1s"}
FOREVER_MS = 2**63 - 1


class Bad(NamedTuple):
    """A record under an id, and why it is given up."""

    value: bytes
    reason: str
    key: bytes | None = b"bad"


def encoded(topic: str, value: bytes | None = b"v", due_ms: int = 0) -> bytes:
    return AVRO.encode_value(Schedule(due_ms, topic, b"k", value))


RUBBISH = {
    "no Avro": Bad(b"\xff\xff\xff", "undecodable"),
    "truncated": Bad(encoded("anywhere")[:-3], "undecodable"),
    "with bytes behind it": Bad(encoded("anywhere") + b"\x00\x00", "undecodable"),
    "of another schema": Bad(json.dumps({"time": 1, "topic": "t"}).encode(), "undecodable"),
    "an empty value": Bad(b"", "undecodable"),
    "an empty topic": Bad(encoded(""), "illegal-topic"),
    "an illegal topic": Bad(encoded("no topic/name"), "illegal-topic"),
    "a topic with a NUL": Bad(encoded("a\0b"), "illegal-topic"),
    "a topic too long": Bad(encoded("x" * 250), "illegal-topic"),
    "no key": Bad(encoded("anywhere"), "null-id", key=None),
    "too large for the topic": Bad(encoded("small", b"x" * SMALL * 2), "too-large"),
}


class Scene:
    """A schedule topic in which records without a key may lie, targets, and a dead-letter topic."""

    def __init__(self, cluster: Cluster, instance: MakeInstance, **environment: str) -> None:
        self.cluster = cluster
        self.topic = cluster.schedule_topic(cleanup_policy="delete")
        self.target, self.dead = cluster.topic(4), cluster.topic()
        self.small = cluster.topic(max_message_bytes=str(SMALL))
        self.kms = instance(
            [self.topic], **(FAST | {"KMS_DEAD_LETTER_TOPIC": self.dead} | environment)
        )

    def write(self, bad: Bad, key: bytes | None = None) -> None:
        value = bad.value.replace(_named("small"), _named(self.small))
        self.cluster.write(self.topic, None if bad.key is None else key or bad.key, value)

    def write_good(self, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            value = b"%d" % number
            self.cluster.schedule(self.topic, value, Schedule(number, self.target, value, value))

    def compact(self) -> None:
        """What kms expects of the topic; before, the broker takes records without a key."""
        self.cluster.flush()
        self.cluster.configure(self.topic, "cleanup.policy", "compact")

    def tombstones(self) -> dict[bytes | None, Arrived]:
        return {it.key: it for it in self.cluster.read(self.topic) if it.value is None}


def _named(topic: str) -> bytes:
    return bytes([len(topic) * 2]) + topic.encode()  # as Avro writes a short text


def test_everything_bad_in_the_middle_of_good_ones(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.write_good(GOOD // 2)
    for name, bad in RUBBISH.items():
        scene.write(bad, name.encode())
    scene.write_good(GOOD // 2, GOOD // 2)
    scene.compact()
    scene.kms.start()
    arrived = cluster.arrived(scene.target, GOOD)
    letters = cluster.arrived(scene.dead, len(RUBBISH))
    said = {it.key or b"no key": dict(it.headers)["kms-reason"] for it in letters}
    assert said == {name.encode(): bad.reason.encode() for name, bad in RUBBISH.items()}
    wait_for("tombstones", lambda: len(scene.tombstones()) == GOOD + len(RUBBISH))
    assert scene.kms.stop() == 0
    assert sorted(int(it.value or b"") for it in cluster.read(scene.target)) == list(range(GOOD))
    assert len(arrived) == GOOD
    assert len(cluster.read(scene.dead)) == len(RUBBISH)
    errors = [line for line in scene.kms.log.splitlines() if " ERROR " in line]
    kinds = {(bad.reason, _target(bad)) for bad in RUBBISH.values()}
    assert len([line for line in errors if "Can't fire" in line]) == len(kinds)


def _target(bad: Bad) -> str:
    return AVRO.decode_value(bad.value).topic if bad.reason == "illegal-topic" else ""


def test_a_dead_letter_is_the_record_whole_in_one_transaction_with_its_tombstone(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.kms.start()
    for count, (name, bad) in enumerate(RUBBISH.items(), 1):
        scene.write(bad, name.encode())
        cluster.flush()
        letter = cluster.arrived(scene.dead, count)[-1]
        record = [it for it in cluster.read(scene.topic) if it.value is not None][-1]
        assert (letter.key, letter.value) == (record.key, record.value), name
        found = dict(letter.headers)
        assert found["kms-source-topic"] == scene.topic.encode()
        assert found["kms-source-partition"] == b"0"
        assert found["kms-source-offset"] == b"%d" % record.offset
        assert found["kms-reason"] == bad.reason.encode(), name
        assert found["kms-message"]
        assert abs(int(found["kms-failed-at-ms"] or b"") - now_ms()) < 60_000
        assert int(found["kms-attempts"] or b"") in (1, 2)
        # The tombstone was committed with the letter, so it is there as soon as that is.
        tombstone = scene.tombstones()[record.key or b"kms-no-id-%d" % record.offset]
        assert fired_of(tombstone.headers) == (record.offset, cluster.topic_id(scene.topic))
    first = next(line for line in scene.kms.log.splitlines() if "Can't fire" in line)
    for part in (f"{scene.topic}/0", "offset 0", "dead-letter topic"):
        assert part in first
    wait_for("all to be counted", lambda: _dead_letters(scene.kms) == len(RUBBISH))
    assert scene.kms.stop() == 0


def _dead_letters(kms: Instance) -> float:
    return sum(count for name, count in kms.metrics().items() if "dead_letters_total" in name)


ODD: Mapping[str, tuple[bytes, int]] = {
    "an empty id": (b"", 0),
    "an id that is no UTF-8": (b"\xff\x00\xfe", 0),
    "an id of 10 KB": (b"x" * 10_240, 0),
    "a time of 0": (b"zero", 0),
    "a negative time": (b"negative", -(2**63)),
    "the year 9999": (b"9999", 253_402_300_799_999),
    "the last time there is": (b"last", FOREVER_MS),
}


def test_what_is_odd_and_allowed_fires_when_it_is_due(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    for schedule_id, due_ms in ODD.values():
        headers = (("empty", b""),)
        wanted = Schedule(due_ms, scene.target, b"k", schedule_id, headers)
        cluster.schedule(scene.topic, schedule_id, wanted)
    scene.compact()
    scene.kms.start()
    due = [schedule_id for schedule_id, due_ms in ODD.values() if due_ms <= 0]
    arrived = cluster.arrived(scene.target, len(due))
    assert sorted(it.value or b"" for it in arrived) == sorted(due)
    assert all(it.headers == [("empty", b"")] for it in arrived)
    pending = f'kms_schedules_pending{{partition="0",schedule_topic="{scene.topic}"}}'
    wait_for("two to be left", lambda: scene.kms.metrics()[pending] == len(ODD) - len(due))
    assert scene.kms.stop() == 0
    assert cluster.read(scene.dead) == []


def test_a_schedule_that_makes_a_schedule_ends(cluster: Cluster, instance: MakeInstance) -> None:
    """Under its own id, too: the inner one is newer than the firing that its tombstone names."""
    scene = Scene(cluster, instance)
    scene.compact()
    inner = encoded(scene.target, b"inner")
    middle = AVRO.encode_value(Schedule(0, scene.topic, b"id", inner))
    cluster.schedule(scene.topic, b"id", Schedule(0, scene.topic, b"id", middle))
    cluster.flush()
    scene.kms.start()
    assert [it.value for it in cluster.arrived(scene.target, 1)] == [b"inner"]
    cluster.schedule(scene.topic, b"mark", Schedule(0, scene.target, b"", b"mark"))
    cluster.flush()
    cluster.arrived(scene.target, 2)
    assert scene.kms.stop() == 0
    assert len(cluster.read(scene.target)) == 2


def test_what_is_too_large_for_the_producer_stays_pending(
    cluster: Cluster, instance: MakeInstance
) -> None:
    """Its dead letter would be as large."""
    scene = Scene(cluster, instance, KAFKA_MESSAGE_MAX_BYTES="3000")
    cluster.schedule(scene.topic, b"large", Schedule(0, scene.target, b"", b"x" * 4_000))
    scene.write_good(100)
    scene.compact()
    scene.kms.start()
    cluster.arrived(scene.target, 100)
    failed = "kms_schedules_failed"
    wait_for("it to be set aside", lambda: scene.kms.metrics().get(failed) == 1)
    assert "the dead-letter topic does not take it either" in scene.kms.log
    assert scene.kms.stop() == 0
    assert len(cluster.read(scene.target)) == 100
    assert cluster.read(scene.dead) == []


def test_a_large_message_fires_where_its_topic_takes_it(
    cluster: Cluster, instance: MakeInstance
) -> None:
    limit = 8_000_000
    topic = cluster.schedule_topic(max_message_bytes=str(limit))
    target = cluster.topic(max_message_bytes=str(limit))
    value = bytes(range(256)) * 20_000  # 5 MB; librdkafka's default limit is 1 MB
    wanted = AVRO.encode_value(Schedule(0, target, b"k", value))
    producer = ck.Producer({"bootstrap.servers": cluster.bootstrap, "message.max.bytes": limit})
    producer.produce(topic, wanted, b"id")
    assert producer.flush(30) == 0
    kms = instance([topic]).start()
    assert [it.value for it in cluster.arrived(target, 1)] == [value]
    assert kms.stop() == 0
