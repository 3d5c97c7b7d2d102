"""The schema registry is away while instances come, and where a run is to end by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_registry import LocalRegistry

from kms.errors import ExitCode
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance
from tests.broker.registry import WHOLE, Writers
from tests.broker.test_registry import keys, time_of

MakeInstance = Callable[..., Instance]
PARTITIONS = 4
IDS = [b"%d" % number for number in range(40)]


@pytest.fixture
def writers(registry: LocalRegistry) -> Iterator[Writers]:
    made = Writers(registry.url)
    yield made
    made.client.close()


def settings(registry: LocalRegistry, topic: str, dead: str) -> dict[str, str]:
    return {
        "REGISTRY_SCHEDULE_TOPICS": topic,
        "KMS_SCHEMA_REGISTRY_URL": registry.url,
        "KMS_DEAD_LETTER_TOPIC": dead,
        "KMS_RETRY_LONGEST_PAUSE": "500ms",
        "KMS_SESSION_TIMEOUT_MS": "6000",
    }


def test_an_instance_joins_while_partitions_are_held(
    cluster: Cluster, instance: MakeInstance, registry: LocalRegistry, writers: Writers
) -> None:
    """Some go to it, held; one that knows no schema at all. Afterwards everything came once."""
    topic, target, dead = cluster.schedule_topic(PARTITIONS), cluster.topic(), cluster.topic()
    known = writers.register(topic, WHOLE)
    other = WHOLE.replace("com.sky.Schedule", "com.sky.Other")
    fresh = writers.register(f"{topic}-2", other)

    def write(name: bytes, number: int, schema_id: int, schema: str, due_ms: int) -> None:
        fields = {"time": time_of(due_ms), "topic": target, "key": name, "value": b"v"}
        value = writers.by_hand(schema_id, schema, {**fields, "headers": {}})
        cluster.write(topic, name, value, partition=number % PARTITIONS)

    environment = settings(registry, topic, dead)
    first = instance([], **environment).start().caught_up(PARTITIONS)
    soon_ms = now_ms() + 8_000
    for number, schedule_id in enumerate(IDS):
        write(b"before " + schedule_id, number, known, WHOLE, 0)
        write(b"soon " + schedule_id, number, known, WHOLE, soon_ms)
        write(b"cancelled " + schedule_id, number, known, WHOLE, soon_ms)
    cluster.flush()
    cluster.arrived(target, len(IDS))
    registry.kill()
    try:
        for number, schedule_id in enumerate(IDS):
            write(b"held " + schedule_id, number, fresh, other, 0)
            cluster.write(topic, b"cancelled " + schedule_id, None, partition=number % PARTITIONS)
        cluster.flush()
        wait_for("holds", lambda: first.metrics()["kms_held_partitions"] == PARTITIONS)
        second = instance([], group=first.group, **environment).start()
        second.wait_for_log("metrics at")
        for each in (first, second):
            share = PARTITIONS // 2
            wait_for("its share", lambda: each.metrics()["kms_held_partitions"] == share)  # noqa: B023
        wait_for("the time of the cancelled", lambda: now_ms() > soon_ms + 500)
        assert len(cluster.read(target)) == len(IDS)
    finally:
        registry.start()
    cluster.arrived(target, 3 * len(IDS))
    second.caught_up(PARTITIONS // 2)
    assert second.stop() == 0
    assert first.stop() == 0
    names = [b"before ", b"soon ", b"held "]
    assert keys(cluster.read(target)) == sorted(name + it for name in names for it in IDS)
    assert cluster.read(dead) == []


def test_run_once_says_what_is_held_and_the_next_run_goes_on(
    cluster: Cluster, registry: LocalRegistry, writers: Writers, tmp_path: Path
) -> None:
    topic, target, dead = cluster.schedule_topic(2), cluster.topic(), cluster.topic()
    fresh = writers.register(topic, WHOLE.replace("com.sky.Schedule", "com.sky.Once"))
    fields = {"time": time_of(0), "topic": target, "key": b"k", "value": b"v", "headers": {}}
    value = writers.by_hand(fresh, WHOLE.replace("com.sky.Schedule", "com.sky.Once"), fields)
    kms = Kms(cluster.bootstrap, tmp_path / "kms.sqlite")
    kms.environment |= settings(registry, topic, dead) | {"CONSUMER_GROUP_ID": f"once-{topic}"}
    registry.kill()
    try:
        cluster.write(topic, b"a", value, partition=1)
        cluster.flush()
        done = kms.run("run", "--once", "--timeout", "8s")
        text = done.stderr.decode()
        assert done.returncode == ExitCode.TIMED_OUT, text
        assert f"did not give the schema for {topic}/1 at offset 0" in text
        assert done.stdout == b""
        assert cluster.read(target) == cluster.read(dead) == []
    finally:
        registry.start()
    assert kms.ok("run", "--once", "--timeout", "30s").startswith("fired 1, pending 0, failed 0")
    assert keys(cluster.read(target)) == [b"k"]
