"""HISTORY_TOPIC: a copy of each message that was fired, and of no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from kms.formats.headers import EPOCH, KEY, TARGET_TOPIC
from kms.schedule import Header, Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
SMALL = 2_000  # bytes that a small topic takes at most
FAST = {"KMS_RETRY_PAUSE": "200ms", "KMS_RETRY_LONGEST_PAUSE": "500ms"}
BOTH = pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])


class Scene:
    """A schedule topic with two partitions, a target, a history and a dead-letter topic."""

    def __init__(
        self, cluster: Cluster, instance: MakeInstance, history: str = "", **settings: str
    ) -> None:
        self.cluster = cluster
        self.topic = cluster.schedule_topic(partitions=2)
        self.target, self.dead = cluster.topic(), cluster.topic()
        self.history = history or cluster.topic()
        ours = {"HISTORY_TOPIC": self.history, "KMS_DEAD_LETTER_TOPIC": self.dead}
        self.kms = instance([self.topic], **(FAST | ours | settings))

    def put(self, name: str, value: bytes = b"v", target: str = "", **asked: str) -> None:
        wanted = Schedule(now_ms(), target or self.target, name.encode(), value)
        headers: list[Header] = [(f"kms-{each}", text.encode()) for each, text in asked.items()]
        self.cluster.schedule(self.topic, name.encode(), wanted, headers=headers)

    def fired(self) -> Counter[bytes | None]:
        return Counter(it.key for it in self.cluster.read(self.target))

    def copied(self) -> Counter[bytes | None]:
        return Counter(it.key for it in self.cluster.read(self.history))

    def ended(self, *names: str) -> None:
        """Wait for their tombstones."""
        wanted = {name.encode() for name in names}
        wait_for(
            "the tombstones",
            lambda: (
                wanted <= {it.key for it in self.cluster.read(self.topic) if it.value is None}
                or None
            ),
        )


def test_nothing_fires_without_it(cluster: Cluster, instance: MakeInstance) -> None:
    """And what was held back fires once, with its copy, when the topic is there."""
    later = f"{cluster.topic()}-later"
    scene = Scene(cluster, instance, later)
    scene.kms.start().caught_up(2)
    scene.put("a")
    cluster.flush()
    scene.kms.wait_for_log("nothing is fired without the history")
    assert cluster.read(scene.target) == []
    cluster.topic(name=later)
    scene.ended("a")
    assert scene.kms.stop() == 0
    assert scene.fired() == scene.copied() == {b"a": 1}


@BOTH
def test_each_occurrence_has_its_own_and_what_is_refused_has_none(
    cluster: Cluster, instance: MakeInstance, delivery: str
) -> None:
    scene = Scene(cluster, instance, KMS_DELIVERY=delivery)
    small = cluster.topic(max_message_bytes=str(SMALL))
    scene.put("often", every="1s", count="3", missed="all")
    scene.put("late", expires="0s")
    scene.put("refused", b"x" * 2 * SMALL, target=small)
    scene.put("plain")
    cluster.flush()
    scene.kms.start()
    scene.ended("often", "late", "refused", "plain")
    assert scene.kms.stop() == 0
    assert scene.copied() == scene.fired()
    assert scene.fired()[b"often"] == 3
    assert b"refused" not in scene.copied()
    epochs = [dict(it.headers)[EPOCH] for it in cluster.read(scene.history) if it.key == b"often"]
    assert [int(each or b"") - int(epochs[0] or b"") for each in epochs] == [0, 1, 2]


def test_a_header_schedule_that_recurs_has_the_time_of_each_occurrence(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    topic = cluster.schedule_topic()
    scene.kms = instance(
        [],
        SCHEDULE_TOPICS="",
        HEADER_SCHEDULE_TOPICS=topic,
        HISTORY_TOPIC=scene.history,
    )
    first = now_ms() // 1_000
    how = [(EPOCH, b"%d" % first), (TARGET_TOPIC, scene.target.encode()), ("own", b"1")]
    asked = [("kms-every", b"1s"), ("kms-count", b"3"), ("kms-missed", b"all")]
    cluster.write(topic, b"often", b"v", headers=[*how, *asked])
    cluster.flush()
    scene.kms.start()
    copies = [dict(it.headers) for it in cluster.arrived(scene.history, 3)]
    assert [it[EPOCH] for it in copies] == [b"%d" % (first + number) for number in range(3)]
    assert {(it[KEY], it["own"]) for it in copies} == {(b"often", b"1")}
    assert scene.kms.stop() == 0


@BOTH
def test_a_copy_that_is_too_large(cluster: Cluster, instance: MakeInstance, delivery: str) -> None:
    """Exactly once neither is sent; at least once the message is, and the log says what lacks."""
    history = cluster.topic(max_message_bytes=str(SMALL))
    scene = Scene(cluster, instance, history, KMS_DELIVERY=delivery)
    names = ["a", "large", "b", "c"]
    for name in names:
        scene.put(name, b"x" * (2 * SMALL if name == "large" else 10))
    cluster.flush()
    scene.kms.start()
    scene.ended(*names)
    assert scene.kms.stop() == 0
    assert scene.copied() == {b"a": 1, b"b": 1, b"c": 1}
    letters = cluster.read(scene.dead)
    if delivery == "exactly-once":
        assert scene.fired() == scene.copied()
        (letter,) = letters
        assert letter.key == b"large"
        assert history.encode() in (dict(letter.headers)["kms-message"] or b"")
    else:
        assert scene.fired() == dict.fromkeys(map(str.encode, names), 1)
        assert letters == []
        assert "the history has no copy of it" in scene.kms.log


@BOTH
def test_what_recurs_in_a_record_too_large_to_be_written_again_stops_no_other(
    cluster: Cluster, instance: MakeInstance, delivery: str
) -> None:
    """Its message is smaller than the record, so it is only found out when that is to follow."""
    scene = Scene(cluster, instance, KMS_DELIVERY=delivery, KAFKA_MESSAGE_MAX_BYTES="5000")
    scene.put("large", b"x" * 4_900, every="1s")
    scene.put("often", every="1s", count="3", missed="all")
    cluster.flush()
    scene.kms.start()
    scene.ended("often")
    failed = "kms_schedules_failed"
    wait_for("it to be set aside", lambda: scene.kms.metrics().get(failed) == 1)
    assert scene.fired()[b"often"] == 3
    assert (scene.fired()[b"large"] == 0) is (delivery == "exactly-once")
    assert scene.kms.stop() == 0
