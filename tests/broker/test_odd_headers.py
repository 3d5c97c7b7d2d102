"""Headers as Kafka allows them and nobody expects them: they stop nobody, and nothing is lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kms.formats import AVRO
from kms.formats.headers import EPOCH, TARGET_TOPIC
from kms.schedule import UNREADABLE_HEADER, Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
NO_TEXT = b"\xff=1"  # kcat's option -H: a name that is no UTF-8
HOUR_MS = 3_600_000


@pytest.mark.skipif(shutil.which("kcat") is None, reason="nothing else here writes such a name")
def test_a_name_that_is_no_text_is_passed_on_as_what_nobody_can_read(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path
) -> None:
    topic, target, dead = cluster.schedule_topic(), cluster.topic(), cluster.topic()
    kms = instance([topic], KMS_DEAD_LETTER_TOPIC=dead)
    for name, due_ms in (("cancelled", now_ms() + HOUR_MS), ("before", 0)):
        wanted = Schedule(due_ms, target, b"k", name.encode())
        cluster.schedule(topic, name.encode(), wanted)
    cluster.flush()
    odd = AVRO.encode_value(Schedule(0, target, b"k", b"odd"))
    (tmp_path / "odd").write_bytes(odd)
    _kcat(cluster, topic, b"-k", b"odd", bytes(tmp_path / "odd"))
    (tmp_path / "null").write_bytes(b"cancelled:\n")
    _kcat(cluster, topic, b"-K:", b"-Z", b"-l", bytes(tmp_path / "null"))
    cluster.schedule(topic, b"after", Schedule(0, target, b"k", b"after"))
    cluster.flush()
    kms.start().caught_up()
    assert [it.value for it in cluster.arrived(target, 2)] == [b"before", b"after"]
    (letter,) = cluster.arrived(dead, 1)
    said = dict(letter.headers)
    assert (letter.key, letter.value, said["kms-reason"]) == (b"odd", odd, b"bad-header")
    assert b"no UTF-8" in (said[UNREADABLE_HEADER] or b"")
    pending = f'kms_schedules_pending{{partition="0",schedule_topic="{topic}"}}'
    wait_for("nothing to be pending", lambda: kms.metrics()[pending] == 0)
    assert kms.stop() == 0
    commands = Kms(cluster.bootstrap, kms.cache)
    commands.environment |= {"SCHEDULE_TOPICS": topic}
    assert "before" not in commands.ok("inspect", "--from-kafka", "--json")


def test_what_a_header_schedule_sends_to_its_own_topic_is_no_endless_one(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target, dead = cluster.schedule_topic(), cluster.topic(), cluster.topic()
    settings = {"SCHEDULE_TOPICS": "", "HEADER_SCHEDULE_TOPICS": topic}
    kms = instance([topic], **settings, KMS_DEAD_LETTER_TOPIC=dead)
    for name, where in (("itself", topic), ("good", target)):
        headers = [(EPOCH, b"1"), (TARGET_TOPIC, where.encode())]
        cluster.write(topic, name.encode(), name.encode(), headers=headers)
    cluster.flush()
    kms.start()
    assert [it.value for it in cluster.arrived(target, 1)] == [b"good"]
    (letter,) = cluster.arrived(dead, 1)
    assert (letter.key, dict(letter.headers)["kms-reason"]) == (b"itself", b"bad-header")
    assert kms.stop() == 0
    assert len(cluster.read(topic)) == 4  # two records and their tombstones


def test_times_at_the_end_of_what_64_bits_hold(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target, dead = cluster.schedule_topic(), cluster.topic(), cluster.topic()
    settings = {"SCHEDULE_TOPICS": "", "HEADER_SCHEDULE_TOPICS": topic}
    kms = instance([topic], **settings, KMS_DEAD_LETTER_TOPIC=dead)
    epochs = ("-9223372036854775", "9223372036854775", "-9999999999999999", "9999999999999999")
    for epoch in epochs:
        headers = [(EPOCH, epoch.encode()), (TARGET_TOPIC, target.encode())]
        cluster.write(topic, epoch.encode(), epoch.encode(), headers=headers)
    cluster.flush()
    kms.start()
    assert [it.value for it in cluster.arrived(target, 1)] == [epochs[0].encode()]
    assert {it.key for it in cluster.arrived(dead, 2)} == {each.encode() for each in epochs[2:]}
    pending = f'kms_schedules_pending{{partition="0",schedule_topic="{topic}"}}'
    wait_for("one to be left", lambda: kms.metrics()[pending] == 1)
    assert kms.stop() == 0


def _kcat(cluster: Cluster, topic: str, *arguments: bytes) -> None:
    command = [b"kcat", b"-b", cluster.bootstrap.encode(), b"-P", b"-t", topic.encode()]
    subprocess.run([*command, b"-H", NO_TEXT, *arguments], check=True, timeout=60)
