"""The commands as people run them, on a real broker."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import pytest

from kms.formats import AVRO, schema_json
from kms.schedule import Row, Schedule
from kms.store import CacheFile, Writer
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance

HOUR_MS = 3_600_000

# Where Java's default partitioner puts these ids, of three partitions.
JAVAS_PARTITION = {b"abc": 0, b"hdr": 1, b"null": 2}


@pytest.fixture
def kms(cluster: Cluster, tmp_path: Path) -> Kms:
    return Kms(cluster.bootstrap, tmp_path / "kms.sqlite")


def read_avro(value: bytes | None) -> Any:
    """With Apache's own library, by the schema that the command prints."""
    source = io.BytesIO(value or b"")
    schema = avro.schema.parse(schema_json())
    found = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(source))
    assert source.read() == b""
    return found


class TestSchedule:
    def test_it_prints_the_id_alone_and_writes_the_record(self, cluster: Cluster, kms: Kms) -> None:
        topic = cluster.schedule_topic(3)
        before_ms = now_ms()
        done = kms.run(
            *("schedule", "--to", "out", "--in", "2h30m", "--on", topic),
            *("--key", "k", "--value", "grüße", "--header", "a=1=2", "--header", "empty="),
        )
        assert (done.returncode, done.stderr) == (0, b"")
        (record,) = cluster.read(topic)
        assert done.stdout == (record.key or b"") + b"\n"
        assert str(uuid.UUID(done.stdout.decode().strip())) == done.stdout.decode().strip()
        found = read_avro(record.value)
        assert before_ms <= found.pop("time") - 5 * HOUR_MS // 2 <= now_ms()
        assert found == {
            "topic": "out",
            "key": b"k",
            "value": "grüße".encode(),
            "headers": {"a": b"1=2", "empty": b""},
        }

    def test_what_is_not_given_is_empty_and_null(self, cluster: Cluster, kms: Kms) -> None:
        topic = cluster.schedule_topic()
        kms.environment["SCHEDULE_TOPICS"] = topic
        at = ("--at", "2030-01-31T12:00:00.5Z")
        assert kms.ok("schedule", "--to", "out", *at, "--id", "a") == "a\n"
        assert kms.ok("schedule", "--to", "out", *at, "--id", "b", "--value", "") == "b\n"
        first, second = [read_avro(record.value) for record in cluster.read(topic)]
        wanted = {"time": 1_896_091_200_500, "topic": "out", "key": b"", "headers": {}}
        assert first == wanted | {"value": None}
        assert second == wanted | {"value": b""}

    def test_bytes_arrive_as_they_were_typed(
        self, cluster: Cluster, kms: Kms, tmp_path: Path
    ) -> None:
        topic = cluster.schedule_topic()
        everything = bytes(range(256))
        (tmp_path / "value").write_bytes(everything)
        common = (*("schedule", "--to", "out", "--at", "1896091200000", "--on", topic), "--id")
        typed = (b"\xff\xfe", "--key", b"k\xff", "--header", b"h=\xff")
        kms.run(*common, *typed, "--value-file", tmp_path / "value")
        kms.run(*common, b"from stdin", "--value-file", "-", stdin=everything)
        first, second = cluster.read(topic)
        assert first.key == b"\xff\xfe"
        found = read_avro(first.value)
        assert (found["key"], found["value"]) == (b"k\xff", everything)
        assert found["headers"] == {"h": b"\xff"}
        assert (second.key, read_avro(second.value)["value"]) == (b"from stdin", everything)

    def test_on_the_partition_where_java_would_write_it(self, cluster: Cluster, kms: Kms) -> None:
        topic = cluster.schedule_topic(3)
        for name in JAVAS_PARTITION:
            kms.ok("schedule", "--to", "out", "--in", "1h", "--on", topic, "--id", name)
        assert {it.key: it.partition for it in cluster.read(topic)} == JAVAS_PARTITION

    def test_one_that_is_past_says_so_beside_the_id(self, cluster: Cluster, kms: Kms) -> None:
        topic = cluster.schedule_topic()
        done = kms.run("schedule", "--to", "out", "--at", "0", "--on", topic, "--id", "old")
        assert (done.returncode, done.stdout) == (0, b"old\n")
        assert b"Its time, 1970-01-01T00:00:00.000Z, is past" in done.stderr

    def test_an_interval_with_a_count_fires_so_often(
        self, cluster: Cluster, kms: Kms, instance: Callable[..., Instance]
    ) -> None:
        topic, target = cluster.schedule_topic(), cluster.topic()
        service = instance([topic]).start().caught_up()
        before_ms = now_ms()
        again = ("--every", "1s", "--count", "2", "--id", "twice", "--value", "v")
        done = kms.run("schedule", "--to", target, "--on", topic, *again)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"twice\n", b"")

        def ended() -> bool:
            return cluster.read(topic)[-1].value is None

        wait_for("its end", ended)
        first, second, _ = cluster.read(topic)
        assert first.headers == [("kms-every", b"1s"), ("kms-count", b"2")]
        assert 0 <= read_avro(first.value)["time"] - before_ms - 1_000 <= now_ms() - before_ms
        assert dict(second.headers)["kms-occurrence"] == b"1"
        messages = cluster.read(target)
        assert [(it.value, it.headers) for it in messages] == [(b"v", []), (b"v", [])]
        assert service.stop() == 0

    def test_kinds_as_they_were_asked_for(self, cluster: Cluster, kms: Kms) -> None:
        """A time without an offset is local here, whatever a header would mean by it."""
        topic = cluster.schedule_topic()
        kms.environment |= {"TZ": "EST5", "SCHEDULE_TOPICS": topic}
        cron = ("--cron", "0 9 * * mon-fri", "--timezone", "Europe/London", "--missed", "none")
        limits = ("--until", "2031-01-01T00:00", "--window", "10m", "--expires", "PT1H")
        assert kms.ok("schedule", "--to", "out", *cron, *limits, "--id", "a") == "a\n"
        late = ("--at", "2020-01-31T12:00:00Z", "--expires", "2020-02-01T00:00")
        done = kms.run("schedule", "--to", "out", *late, "--id", "b")
        assert done.stderr.decode() == (
            "Its time, 2020-01-31T12:00:00.000Z, is past: it is not fired (expired).\n"
        )
        first, second = cluster.read(topic)
        assert dict(first.headers) == {
            "kms-cron": b"0 9 * * mon-fri",
            "kms-timezone": b"Europe/London",
            "kms-missed": b"none",
            "kms-until": b"2031-01-01T05:00:00.000Z",
            "kms-window": b"10m",
            "kms-expires": b"PT1H",
        }
        assert abs(read_avro(first.value)["time"] - now_ms()) < 60_000
        assert second.headers == [("kms-expires", b"2020-02-01T05:00:00.000Z")]

    def test_a_refused_one_is_a_sentence(self, cluster: Cluster, kms: Kms, tmp_path: Path) -> None:
        topic = cluster.schedule_topic(max_message_bytes="1000")
        (tmp_path / "value").write_bytes(os.urandom(5_000))
        common = ("schedule", "--to", "out", "--in", "1h", "--value-file", tmp_path / "value")
        done = kms.run(*common, "--on", topic)
        assert (done.returncode, done.stdout) == (5, b"")
        assert f"Writing to {topic} failed".encode() in done.stderr
        assert done.stderr.count(b"\n") == 1
        assert cluster.read(topic) == []

    def test_a_topic_that_does_not_exist_is_not_made(self, cluster: Cluster, kms: Kms) -> None:
        topic = f"none-{uuid.uuid4().hex[:8]}"
        done = kms.run("schedule", "--to", "out", "--in", "1h", "--on", topic)
        assert (done.returncode, done.stdout) == (1, b"")
        sentence = f"The schedule topic {topic} does not exist: python kms.py topics create {topic}"
        assert done.stderr.decode() == sentence + "\n"
        assert topic not in cluster.admin.list_topics(timeout=10).topics


class TestCancel:
    def test_without_a_cache_on_the_partition_where_schedule_writes(
        self, cluster: Cluster, kms: Kms
    ) -> None:
        topic = cluster.schedule_topic(3)
        for name in (b"hdr", b"null"):
            partition = JAVAS_PARTITION[name]
            kms.ok("schedule", "--to", "out", "--in", "1h", "--on", topic, "--id", name)
            done = kms.run("cancel", name, "--on", topic)
            assert done.returncode == 0
            wanted = f"cancelled {name.decode()} on {topic}/{partition}\n"
            assert done.stdout.decode() == wanted
            assert done.stderr.decode().startswith(f"There is no cache at {kms.cache}: ")
        ends = [it for it in cluster.read(topic) if it.value is None]
        assert [(it.key, it.partition) for it in ends] == [(b"hdr", 1), (b"null", 2)]
        assert all(it.headers == [] for it in ends)

    def test_what_a_running_service_has_where_no_default_would_put_it(
        self, cluster: Cluster, kms: Kms, instance: Callable[..., Instance]
    ) -> None:
        topic = cluster.schedule_topic(3)
        for name, partition in JAVAS_PARTITION.items():
            schedule = Schedule(now_ms() + HOUR_MS, "out", b"", name)
            cluster.schedule(topic, name, schedule, partition=(partition + 1) % 3)
        cluster.flush()
        service = instance([topic], cache=kms.cache).start().caught_up(3)
        wait_for("the cache", lambda: kms.ok("inspect", "--count") == "3\n")
        done = kms.run("cancel", "abc")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode() == f"cancelled abc on {topic}/1\n"
        wait_for("the cancelling", lambda: kms.ok("inspect", "--count") == "2\n")
        gone = kms.run("inspect", "abc")
        assert (gone.returncode, gone.stdout) == (1, b"")
        assert b"abc is not pending." in gone.stderr
        lines = kms.ok("inspect", "--format", "json").splitlines()
        assert {json.loads(line)["id"] for line in lines} == {"hdr", "null"}
        assert service.stop() == 0

    def test_a_cache_of_another_topic_of_that_name_is_not_believed(
        self, cluster: Cluster, kms: Kms
    ) -> None:
        topic = cluster.schedule_topic(3)
        fill(kms.cache, [(topic, 2, "the id of another topic", b"abc")])
        done = kms.run("cancel", "abc", "--on", topic)
        assert done.stdout.decode() == f"cancelled abc on {topic}/0\n"
        assert f"The cache {kms.cache} does not know abc as pending" in done.stderr.decode()

    def test_an_id_on_several_topics_needs_to_be_told_which(
        self, cluster: Cluster, kms: Kms
    ) -> None:
        topics = sorted([cluster.schedule_topic(2), cluster.schedule_topic(2)])
        ids = {topic: cluster.topic_id(topic) for topic in topics}
        fill(kms.cache, [(topic, 1, ids[topic], b"\xffabc") for topic in topics])
        done = kms.run("cancel", b"\xffabc")
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.decode() == (
            rf"\xffabc is pending on several schedule topics ({', '.join(topics)}): "
            "say which with --on.\n"
        )
        assert not cluster.read(topics[0])
        done = kms.run("cancel", b"\xffabc", "--on", topics[1])
        assert done.stdout.decode() == f"cancelled \\xffabc on {topics[1]}/1\n"
        (end,) = cluster.read(topics[1])
        assert (end.partition, end.key, end.value) == (1, b"\xffabc", None)

    def test_a_damaged_cache_is_no_obstacle(self, cluster: Cluster, kms: Kms) -> None:
        topic = cluster.schedule_topic(3)
        kms.cache.write_bytes(b"no database at all" * 100)
        done = kms.run("cancel", "hdr", "--on", topic)
        assert (done.returncode, done.stdout.decode()) == (0, f"cancelled hdr on {topic}/1\n")
        assert b"can't be read" in done.stderr


def fill(path: Path, found: list[tuple[str, int, str, bytes]]) -> None:
    """A cache with these schedules, as a service would leave it: topic, partition, topic id, id."""
    with closing(CacheFile(path)) as file, closing(Writer(file)) as writer:
        value = AVRO.encode_value(Schedule(now_ms() + HOUR_MS, "out", b"", None))
        for topic, partition, topic_id, name in found:
            number = writer.restart(topic, partition, topic_id, "cluster", 0).number
            rows = writer.rows(number)
            rows[name] = Row(0, now_ms() + HOUR_MS, value)
            writer.commit([rows], {number: 1}, {})
