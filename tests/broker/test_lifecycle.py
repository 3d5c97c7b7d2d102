"""Start, stop, exit codes, and what goes wrong without taking anything else along."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kms.schedule import Schedule
from kms.stop_signals import AGAIN_SECONDS
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_leaves_the_group(
    cluster: Cluster, instance: MakeInstance, number: signal.Signals
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    kms = instance([topic]).start().caught_up()
    for index in range(2_000):
        cluster.schedule(topic, b"%d" % index, Schedule(0, target, b"", b"%d" % index))
    cluster.flush()
    cluster.arrived(target, 1)
    assert cluster.members(kms.group) == 1
    kms.signal(number)
    assert kms.ended() == 0
    assert cluster.members(kms.group) == 0
    kms.start()
    arrived = cluster.arrived(target, 2_000)
    assert sorted(int(it.value or b"") for it in arrived) == list(range(2_000))


def test_a_second_ctrl_c_leaves_at_once(cluster: Cluster, instance: MakeInstance) -> None:
    kms = instance([cluster.schedule_topic()], KAFKA_BROKERS="127.0.0.1:1").start()
    kms.wait_for_log("kms runs")
    kms.signal(signal.SIGINT)
    kms.wait_for_log("Stopping")
    time.sleep(AGAIN_SECONDS)  # sooner it would not count
    kms.signal(signal.SIGINT)
    assert kms.ended(5) == 128 + signal.SIGINT


def test_a_second_process_on_the_same_cache_is_refused(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic = cluster.schedule_topic()
    first = instance([topic]).start().caught_up()
    before = {path: path.stat().st_ino for path in first.cache.parent.glob("cache-*")}
    second = instance([topic], group=first.group, cache=first.cache).start()
    assert second.ended() == 3
    assert f"Another process is using the cache {first.cache}" in second.log
    assert "Traceback" not in second.log
    assert {path: path.stat().st_ino for path in first.cache.parent.glob("cache-*")} == before
    assert cluster.members(first.group) == 1


def test_a_thread_that_dies_ends_the_process_with_its_exit_code(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic = cluster.schedule_topic()
    kms = instance([topic]).start().caught_up()
    connection = sqlite3.connect(kms.cache)
    connection.executescript("DROP TABLE schedules")
    connection.close()
    cluster.schedule(topic, b"id", Schedule(now_ms() + 1_000_000, "nowhere", b"", b"v"))
    cluster.flush()
    assert kms.ended() == 4
    assert "no such table: schedules" in kms.log
    assert "Traceback" not in kms.log


def test_a_bad_setting_is_a_sentence_and_exit_code_2(
    cluster: Cluster, instance: MakeInstance
) -> None:
    kms = instance([cluster.schedule_topic()], KMS_DELIVERY="twice").start()
    assert kms.ended() == 2
    assert "KMS_DELIVERY" in kms.log
    assert "exactly-once" in kms.log
    unknown = instance([cluster.schedule_topic()], KAFKA_SASL_MECHANISMZ="PLAIN").start()
    assert unknown.ended() == 2
    assert "KAFKA_SASL_MECHANISMZ" in unknown.log


def test_librdkafka_properties_and_the_settings_file_reach_the_service(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    file = tmp_path / "kms.toml"
    file.write_text(
        f'schedule_topics = ["{topic}"]\nkms_log_level = "DEBUG"\n'
        '[kafka]\n"compression.type" = "gzip"\n'
    )
    kms = instance([], SCHEDULE_TOPICS="", KAFKA_QUEUED_MIN_MESSAGES="1234")
    kms.start("--config", str(file))
    cluster.schedule(topic, b"id", Schedule(0, target, b"k", b"v"))
    cluster.flush()
    cluster.arrived(target, 1)
    assert "kafka.compression.type = gzip" in kms.log
    assert "kafka.queued.min.messages = 1234" in kms.log


def test_an_undecodable_record_harms_no_other(cluster: Cluster, instance: MakeInstance) -> None:
    # Only a topic that is not compacted (yet) takes a record without a key.
    topic, target = cluster.schedule_topic(cleanup_policy="delete"), cluster.topic()
    kms = instance([topic]).start().caught_up()
    cluster.schedule(topic, b"replaced", Schedule(now_ms() + 1_500, target, b"", b"old"))
    cluster.schedule(topic, b"before", Schedule(now_ms(), target, b"", b"before"))
    cluster.write(topic, b"bad", b"no avro at all")
    cluster.write(topic, None, b"no id")
    for _ in range(50):
        cluster.write(topic, None, None)
    cluster.write(topic, b"replaced", b"")
    cluster.schedule(topic, b"after", Schedule(now_ms() + 2_000, target, b"", b"after"))
    cluster.flush()
    assert [it.value for it in cluster.arrived(target, 2)] == [b"before", b"after"]
    lines = [line for line in kms.log.splitlines() if "Can't fire" in line]
    assert len(lines) == 2  # one for each kind
    assert kms.log.count("has neither key nor value") == 1
    bad = next(line for line in lines if "b'bad'" in line)
    offset = next(it.offset for it in cluster.read(topic) if it.key == b"bad")
    assert f"{topic}/0 offset {offset}" in bad
    metrics = kms.metrics()
    rejected = 'kms_records_rejected_total{reason="%s",schedule_topic="%s"}'
    assert metrics[rejected % ("undecodable", topic)] == 2
    assert metrics[rejected % ("null-id", topic)] == 51


def test_an_unknown_target_topic_harms_no_other_and_fires_once_it_exists(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    missing = f"{target}-missing"
    kms = instance([topic]).start().caught_up()
    cluster.schedule(topic, b"lost?", Schedule(0, missing, b"k", b"v"))
    for number in range(100):
        cluster.schedule(topic, b"%d" % number, Schedule(1, target, b"", b"%d" % number))
    cluster.flush()
    cluster.arrived(target, 100, seconds=10)
    lines = [line for line in kms.log.splitlines() if "Can't fire" in line]
    assert len(lines) == 1
    offset = next(it.offset for it in cluster.read(topic) if it.key == b"lost?")
    assert f"{topic}/0 offset {offset}, schedule id b'lost?'" in lines[0]
    assert f"{missing!r} does not exist" in lines[0]
    failures = f'kms_firing_failures_total{{reason="topic-missing",topic="{missing}"}}'
    assert kms.metrics()[failures] >= 1
    cluster.topic(name=missing)
    (arrived,) = cluster.arrived(missing, 1)
    assert (arrived.key, arrived.value) == (b"k", b"v")
    assert len(cluster.read(target)) == 100


def test_lateness_and_state_are_in_the_metrics(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(3), cluster.topic()
    kms = instance([topic]).start().caught_up(3)
    due_ms = now_ms() + 500
    for number in range(30):
        cluster.schedule(topic, b"%d" % number, Schedule(due_ms, target, b"", b""))
    cluster.schedule(topic, b"far", Schedule(due_ms + 3_600_000, target, b"", b""))
    cluster.flush()
    cluster.arrived(target, 30)
    count = "kms_lateness_seconds_count"
    wait_for("the count", lambda: kms.metrics()[count] == 30)
    metrics = kms.metrics()
    assert 0 < metrics["kms_lateness_seconds_sum"] < 30 * 10
    assert metrics['kms_lateness_seconds_bucket{le="+Inf"}'] == 30
    assert metrics["kms_assigned_partitions"] == metrics["kms_firing_partitions"] == 3
    received = f'kms_records_received_total{{schedule_topic="{topic}"}}'
    wait_for("its own tombstones", lambda: kms.metrics()[received] == 61)
    time_of_last_error = metrics['kms_last_error_timestamp_seconds{thread="producer"}']
    assert time_of_last_error == 0 < time.time()
