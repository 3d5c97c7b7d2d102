"""``topics create`` and ``topics check`` on a real broker."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from kms.topics import recommended_config
from tests.broker.cluster import Cluster
from tests.broker.commands import Kms


@pytest.fixture
def kms(cluster: Cluster, tmp_path: Path) -> Kms:
    return Kms(cluster.bootstrap, tmp_path / "kms.sqlite")


class TestTopics:
    def test_created_as_recommended(self, cluster: Cluster, kms: Kms) -> None:
        names = [f"made-{uuid.uuid4().hex[:8]}" for _ in range(2)]
        kms.environment["SCHEDULE_TOPICS"] = ",".join(names)
        assert kms.ok("topics", "create", "--partitions", "3") == "".join(
            f"{name}: created\n" for name in names
        )
        found = cluster.admin.list_topics(timeout=10).topics
        assert [len(found[name].partitions) for name in names] == [3, 3]
        config = topic_config(cluster, names[0])
        assert {name: config[name] for name in recommended_config()} == recommended_config()
        assert kms.ok("topics", "check") == "".join(
            f"topic {name}: ok: configured as recommended\n" for name in names
        )
        again = kms.ok("topics", "create", names[0])
        assert again.startswith(f"{names[0]}: exists already; ")
        assert f"topics check {names[0]}" in again

    def test_a_topic_that_loses_schedules_is_an_error(self, cluster: Cluster, kms: Kms) -> None:
        topic = cluster.topic()
        done = kms.run("topics", "check", topic)
        assert done.returncode == 1
        first, *rest = done.stdout.decode().splitlines()
        assert first.startswith(
            f"topic {topic}: error: cleanup.policy is delete, recommended is compact. "
        )
        assert [line.split()[2:4] for line in rest] == [
            ["warning:", name]
            for name in (
                *("delete.retention.ms", "min.compaction.lag.ms", "min.cleanable.dirty.ratio"),
                *("segment.ms", "segment.bytes"),
            )
        ]

    def test_a_topic_that_only_costs_more_is_not(self, cluster: Cluster, kms: Kms) -> None:
        config = recommended_config() | {"segment.ms": "3600000"}
        topic = cluster.schedule_topic(1, **{k.replace(".", "_"): v for k, v in config.items()})
        assert kms.ok("topics", "check", topic).startswith(
            f"topic {topic}: warning: segment.ms is 3600000, recommended is 86400000. Only closed "
        )

    def test_a_missing_one_is_an_error_beside_the_others(self, cluster: Cluster, kms: Kms) -> None:
        topic, missing = cluster.schedule_topic(), f"none-{uuid.uuid4().hex[:8]}"
        done = kms.run("topics", "check", missing, topic)
        assert done.returncode == 1
        out = done.stdout.decode()
        assert f"topic {missing}: error: it does not exist" in out
        assert f"{topic}: warning: " in out

    def test_what_the_broker_refuses_is_a_sentence(self, kms: Kms) -> None:
        done = kms.run("topics", "create", f"made-{uuid.uuid4().hex[:8]}", "--replication", "99")
        assert (done.returncode, done.stdout) == (5, b"")
        assert b"INVALID_REPLICATION_FACTOR" in done.stderr
        assert b"Traceback" not in done.stderr


def topic_config(cluster: Cluster, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = cluster.admin.describe_configs([resource], request_timeout=10)[resource].result()
    return {name: str(entry.value) for name, entry in found.items()}
