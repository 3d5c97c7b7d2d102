"""The cache is only a cache: whatever happens to it, the topic is the truth."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka as ck
import pytest

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
FAST = {"KMS_SESSION_TIMEOUT_MS": "3000", "KMS_TRANSACTION_TIMEOUT_MS": "3000"}


class Scene:
    """Something fired, something cancelled, something pending; then the cache is damaged."""

    def __init__(self, cluster: Cluster, instance: MakeInstance) -> None:
        self.cluster = cluster
        self.topic, self.target = cluster.schedule_topic(), cluster.topic()
        self.kms = instance([self.topic], **FAST).start().caught_up()
        self.later_ms = now_ms() + 3_600_000
        self._schedule(b"fired", 0)
        self._schedule(b"cancelled", self.later_ms)
        self._schedule(b"pending", self.later_ms)
        cluster.flush()
        cluster.arrived(self.target, 1)
        wait_for("the tombstone's fold", lambda: self._pending() == 2)
        assert self.kms.stop() == 0
        cluster.write(self.topic, b"cancelled", None)
        cluster.flush()

    def sql(self, statement: str) -> None:
        """Change the cache behind kms's back."""
        connection = sqlite3.connect(self.kms.cache)
        with connection:
            connection.execute(statement)
        connection.close()

    def rebuilt(self, warning: str, reason: str = "file-unusable") -> None:
        """One warning, nothing fired again, and what is pending can be made to fire."""
        self.kms.start().caught_up()
        self._schedule(b"pending", 0)
        self.cluster.flush()
        self.cluster.arrived(self.target, 2)
        wait_for("all to be folded", lambda: self._pending() == 0)
        arrived = self.cluster.read(self.target)
        assert [it.value for it in arrived] == [b"fired", b"pending"]
        warnings = [line for line in self.kms.log.splitlines() if "WARNING" in line]
        assert len(warnings) == 1, self.kms.log
        assert warning in warnings[0]
        assert self.rebuilds() == {reason: 1}
        assert self.kms.stop() == 0

    def rebuilds(self) -> dict[str, float]:
        """How often for which reason, by the metrics."""
        name = re.compile(r'kms_cache_rebuilds_total{reason="(.+)"}')
        found = {name.fullmatch(each): count for each, count in self.kms.metrics().items() if count}
        return {match[1]: count for match, count in found.items() if match}

    def _schedule(self, schedule_id: bytes, due_ms: int) -> None:
        self.cluster.schedule(
            self.topic, schedule_id, Schedule(due_ms, self.target, b"", schedule_id)
        )

    def _pending(self) -> float:
        name = f'kms_schedules_pending{{partition="0",schedule_topic="{self.topic}"}}'
        return self.kms.metrics().get(name, -1)


@pytest.fixture
def scene(cluster: Cluster, instance: MakeInstance) -> Scene:
    return Scene(cluster, instance)


def test_deleted(scene: Scene) -> None:
    for path in scene.kms.cache.parent.glob(f"{scene.kms.cache.name}*"):
        path.unlink()
    scene.kms.start().caught_up()
    scene.cluster.schedule(scene.topic, b"pending", Schedule(0, scene.target, b"", b"pending"))
    scene.cluster.flush()
    assert [it.value for it in scene.cluster.arrived(scene.target, 2)] == [b"fired", b"pending"]
    assert "WARNING" not in scene.kms.log
    assert scene.rebuilds() == {}


@pytest.mark.parametrize("size", [1, 100, 4096, 9000])
def test_truncated(scene: Scene, size: int) -> None:
    os.truncate(scene.kms.cache, size)
    scene.rebuilt("can't be used")


def test_overwritten_with_noise(scene: Scene) -> None:
    scene.kms.cache.write_bytes(os.urandom(scene.kms.cache.stat().st_size))
    scene.rebuilt("can't be used")


def test_noise_in_the_middle(scene: Scene) -> None:
    with scene.kms.cache.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(scene.kms.cache.stat().st_size - 4096))
    scene.rebuilt("can't be used")


@pytest.mark.parametrize("version", [0, 99])
def test_of_another_version(scene: Scene, version: int) -> None:
    scene.sql(f"PRAGMA user_version = {version}")
    scene.rebuilt(f"version {version}")


def test_of_somebody_else(scene: Scene) -> None:
    scene.kms.cache.unlink()
    scene.sql("CREATE TABLE notes (text)")
    scene.rebuilt("not a cache of kms")


def test_from_another_cluster(scene: Scene) -> None:
    scene.sql("UPDATE partitions SET cluster_id = 'another'")
    scene.rebuilt("cluster another", "other-cluster")


def test_of_a_topic_made_again(scene: Scene) -> None:
    scene.sql("UPDATE partitions SET topic_id = 'another'")
    scene.rebuilt("deleted and made again", "topic-recreated")


def test_past_the_end_of_the_log(scene: Scene) -> None:
    scene.sql("UPDATE partitions SET next_offset = 1000000")
    scene.rebuilt("past the log's end", "log-moved")


def test_before_the_start_of_the_log(scene: Scene) -> None:
    scene.sql("UPDATE partitions SET next_offset = -7")
    scene.rebuilt("before the log's first", "log-moved")


def test_older_than_the_tombstones_retention(scene: Scene) -> None:
    day_ms = 86_400_000  # delete.retention.ms by default
    scene.sql(f"UPDATE partitions SET seen_ms = {now_ms() - day_ms - 1000}")
    scene.rebuilt("delete.retention.ms", "too-old")


@pytest.mark.parametrize("retention_ms", [3_000, 60_000])
def test_a_start_that_took_longer_than_tombstones_are_kept_reads_again(
    cluster: Cluster, instance: MakeInstance, retention_ms: int
) -> None:
    topic, target = cluster.compacted_topic(retention_ms=retention_ms), cluster.topic()
    cluster.schedule(topic, b"id", Schedule(0, target, b"", b""))
    cluster.flush()
    group = f"group-{now_ms()}"
    with _offsets_in_doubt(cluster, group, topic):
        kms = instance([topic], group=group).start()
        kms.wait_for_log("Assigned")
        assigned_ms = now_ms()
        wait_for("tombstones to go", lambda: now_ms() > assigned_ms + 3_500)
        assert "Caught up" not in kms.log
    kms.caught_up()
    said = kms.log.count("tombstones may be gone since it was read")
    assert said == (retention_ms == 3_000)
    cluster.arrived(target, 1)
    assert kms.stop() == 0
    assert len(cluster.read(target)) == 1


@contextmanager
def _offsets_in_doubt(cluster: Cluster, group: str, topic: str) -> Iterator[None]:
    """An open transaction with offsets of the group, as another instance leaves it when it dies."""
    servers = {"bootstrap.servers": cluster.bootstrap}
    consumer = ck.Consumer({**servers, "group.id": group})
    producer = ck.Producer({**servers, "transactional.id": f"{group}-other"})
    producer.init_transactions()
    producer.begin_transaction()
    metadata = consumer.consumer_group_metadata()
    producer.send_offsets_to_transaction([ck.TopicPartition(topic, 0, 0)], metadata)
    yield
    producer.abort_transaction()
    consumer.close()


def test_a_full_disk_is_an_exit_code_and_loses_nothing(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)])
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        kms = instance([topic], cache=small / "kms.sqlite", **FAST).start().caught_up()
        for number in range(3_000):
            value = os.urandom(1_000)
            cluster.schedule(topic, b"%d" % number, Schedule(now_ms() + 5_000, target, b"", value))
        cluster.flush()
        assert kms.ended() == 4, kms.log
        assert "full" in kms.log
        assert "Traceback" not in kms.log
    finally:
        subprocess.run(["umount", str(small)], check=True)
    other = instance([topic], group=kms.group, **FAST).start()
    cluster.arrived(target, 3_000)
    assert other.stop() == 0
    assert len(cluster.read(target)) == 3_000


def test_a_read_only_folder_is_a_sentence_and_an_exit_code(
    cluster: Cluster, instance: MakeInstance
) -> None:
    kms = instance([cluster.schedule_topic()], cache=Path("/proc/kms.sqlite")).start()
    assert kms.ended() == 4
    assert "/proc/kms.sqlite" in kms.log
    assert "Traceback" not in kms.log
