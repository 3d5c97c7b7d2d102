"""What could not be fired: tried again, given up, and put back."""

from __future__ import annotations

import json
from collections.abc import Callable

from kms.formats import AVRO
from kms.schedule import Schedule
from tests.broker.cluster import Arrived, Cluster, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance
from tests.broker.test_bad_input import RUBBISH, Scene, encoded

MakeInstance = Callable[..., Instance]


def test_a_missing_target_fires_soon_after_somebody_creates_it(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    cluster.schedule(scene.topic, b"early", Schedule(0, "made-later", b"k", b"v"))
    scene.write_good(100)
    scene.compact()
    scene.kms.start()
    cluster.arrived(scene.target, 100)
    failures = 'kms_firing_failures_total{reason="topic-missing",topic="made-later"}'
    wait_for("attempts", lambda: scene.kms.metrics().get(failures, 0) >= 3)
    cluster.topic(name="made-later")
    assert [it.value for it in cluster.arrived("made-later", 1, 5)] == [b"v"]
    assert scene.kms.stop() == 0
    assert cluster.read(scene.dead) == []
    cluster.admin.delete_topics(["made-later"])["made-later"].result()


def test_a_target_that_is_deleted_while_its_schedules_are_pending(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance, KMS_RETRY_FOR="1s")
    scene.compact()
    scene.kms.start()
    doomed = cluster.topic()
    cluster.schedule(scene.topic, b"a", Schedule(0, doomed, b"", b"a"))
    cluster.flush()
    cluster.arrived(doomed, 1)
    cluster.admin.delete_topics([doomed])[doomed].result()
    cluster.schedule(scene.topic, b"b", Schedule(0, doomed, b"", b"b"))
    scene.write_good(100)
    cluster.flush()
    (letter,) = cluster.arrived(scene.dead, 1)
    assert letter.key == b"b"
    assert dict(letter.headers)["kms-reason"] == b"topic-missing"
    cluster.arrived(scene.target, 100)
    assert scene.kms.stop() == 0
    assert len(cluster.read(scene.target)) == 100


def test_without_a_dead_letter_topic_it_stays_and_can_be_tried_again(
    cluster: Cluster, instance: MakeInstance
) -> None:
    pauses = {"KMS_RETRY_PAUSE": "1h", "KMS_RETRY_LONGEST_PAUSE": "1h"}
    scene = Scene(cluster, instance, KMS_DEAD_LETTER_TOPIC="", **pauses)
    cluster.schedule(scene.topic, b"early", Schedule(0, "made-by-hand", b"k", b"v"))
    scene.write(RUBBISH["no Avro"])
    scene.compact()
    scene.kms.start()
    kms = Kms(cluster.bootstrap, scene.kms.cache)

    def failed() -> list[dict[str, object]]:
        out = kms.ok("inspect", "--failed", "--format", "json")
        return [json.loads(line) for line in out.splitlines()]

    scene.kms.caught_up()
    wait_for("both to fail", lambda: len(failed()) == 2)
    assert {it["id"]: it["reason"] for it in failed()} == {
        "early": "topic-missing",
        "bad": "undecodable",
    }
    cluster.topic(name="made-by-hand")
    kms.ok("retry", "early")
    assert [it.value for it in cluster.arrived("made-by-hand", 1, 10)] == [b"v"]
    wait_for("the other to be left", lambda: [it["id"] for it in failed()] == ["bad"])
    cluster.write(scene.topic, b"bad", encoded(scene.target))  # mended by whoever wrote it
    cluster.flush()
    cluster.arrived(scene.target, 1)
    wait_for("none to be left", lambda: failed() == [])
    assert scene.kms.stop() == 0
    cluster.admin.delete_topics(["made-by-hand"])["made-by-hand"].result()


def test_dead_letters_are_put_back_once(cluster: Cluster, instance: MakeInstance) -> None:
    scene = Scene(cluster, instance, KMS_RETRY_FOR="1ms")
    headers: list[tuple[str, bytes | None]] = [("mine", b"\xff")]
    value = AVRO.encode_value(Schedule(0, "made-at-last", b"k", b"v"))
    cluster.write(scene.topic, b"late", value, headers=headers)
    scene.write(RUBBISH["no Avro"])
    scene.compact()
    scene.kms.start()
    cluster.arrived(scene.dead, 2)
    kms = Kms(cluster.bootstrap, scene.kms.cache)
    options = ["--kms-dead-letter-topic", scene.dead]
    cluster.topic(name="made-at-last")
    dry = kms.run("redrive", *options, "--reason", "topic-missing", "--dry-run")
    done = kms.run("redrive", *options, "--reason", "topic-missing")
    assert dry.stdout == done.stdout == f"late on {scene.topic}/0: topic-missing\n".encode()
    assert [it.value for it in cluster.arrived("made-at-last", 1)] == [b"v"]
    (back,) = [it for it in cluster.read(scene.topic) if it.key == b"late" and it.value][1:]
    assert (back.value, back.headers) == (value, headers)
    again = kms.run("redrive", *options, "--reason", "topic-missing")
    assert (again.stdout, again.stderr) == (b"", b"0 were put back\n")
    other = kms.run("redrive", *options)
    assert other.stdout == f"bad on {scene.topic}/0: undecodable\n".encode()
    wait_for("it to fail again", lambda: len(_letters(cluster, scene.dead)) == 3)
    assert scene.kms.stop() == 0
    cluster.admin.delete_topics(["made-at-last"])["made-at-last"].result()


def _letters(cluster: Cluster, topic: str) -> list[Arrived]:
    return [it for it in cluster.read(topic) if it.value is not None]


def test_a_letter_that_cant_be_put_back_is_named_and_holds_nothing_open(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance, KMS_RETRY_FOR="1ms")
    scene.write(RUBBISH["no Avro"], b"kept")
    scene.compact()
    scene.kms.start()
    (letter,) = cluster.arrived(scene.dead, 1)
    source = [(name, value) for name, value in letter.headers if name != "kms-source-partition"]
    for schedule_id, partition in ((b"gone", b"77"), (None, b"0")):
        headers = [*source, ("kms-source-partition", partition)]
        cluster.write(scene.dead, schedule_id, b"v", headers=headers)
    cluster.flush()
    kms = Kms(cluster.bootstrap, scene.kms.cache)
    options = ["--kms-dead-letter-topic", scene.dead]
    failed = kms.run("redrive", *options)
    assert failed.returncode == 5
    assert f"'gone' of {scene.topic}/77" in failed.stderr.decode()
    assert kms.ok("redrive", *options, "--id", "kept") != ""
    wait_for("it to fail again", lambda: len(cluster.read(scene.dead)) == 5)
    assert scene.kms.stop() == 0
