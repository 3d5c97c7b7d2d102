"""The client for programs, its schedules fired by a running instance."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from local_registry import LocalRegistry

from kms.client import AsyncScheduleClient, FormatName, ScheduleClient
from kms.errors import (
    BrokenProducerError,
    KmsError,
    RegistryAwayError,
    RequestError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.formats import AVRO
from kms.kafka import TopicPartition, read_partition
from kms.schedule import Schedule, fired_headers
from kms.settings import Settings
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance
from tests.broker.secured import SecuredKafka

MakeInstance = Callable[..., Instance]
LATER = datetime(2100, 1, 1, tzinfo=UTC)
LATER_MS = 4_102_444_800_000
SETTING: dict[FormatName, str] = {
    "avro": "SCHEDULE_TOPICS",
    "json": "JSON_SCHEDULE_TOPICS",
    "headers": "HEADER_SCHEDULE_TOPICS",
}


def config(cluster: Cluster) -> dict[str, object]:
    return {"bootstrap.servers": cluster.bootstrap}


def test_what_programs_schedule_fires(cluster: Cluster, instance: MakeInstance) -> None:
    """In each format: now, replaced, cancelled; the fired ones are no longer there to get."""
    target = cluster.topic()
    topics = {form: cluster.schedule_topic(3) for form in SETTING}
    settings = {SETTING[form]: topic for form, topic in topics.items()}
    kms = instance([topics["avro"]], **settings).start().caught_up(9)
    for form, topic in topics.items():
        with ScheduleClient(topic, config(cluster), format=form) as schedules:
            assert schedules.at(LATER, to=target, value="old", id="new") == "new"
            kept = schedules.after(
                3_600, to=target, key="k", value=b"\xff", headers={"a": "é", "b": b"\0"}
            )
            assert schedules.cancel(schedules.at(now_ms() + 500, to=target, value="no", id="no"))
            schedules.at(1, to=target, value=f"{form} first", id="new")
            schedules.after(timedelta(0), to=target, key="k", value=f"{form} second")
            found = schedules.get(kept)
            assert found is not None
            assert abs(found.due_ms - now_ms() - 3_600_000) < 60_000
            assert found[1:4] == (target, b"k", b"\xff")
            assert {("a", "é".encode()), ("b", b"\0")} <= set(found.headers)
            assert schedules.get("no") is None
    arrived = cluster.arrived(target, 2 * len(topics))
    assert {it.value for it in arrived} == {
        f"{form} {which}".encode() for form in topics for which in ("first", "second")
    }
    with ScheduleClient(topics["avro"], config(cluster)) as schedules:
        assert schedules.get("new") is None
    assert kms.stop() == 0


def transactional(cluster: Cluster) -> ck.Producer:
    producer = ck.Producer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "transactional.id": f"program-{uuid.uuid4().hex[:8]}",
        }
    )
    producer.init_transactions(30)
    return producer


class TestWhatIsThere:
    def test_is_what_the_service_would_see(self, cluster: Cluster) -> None:
        """A firing's tombstone ends the version it speaks of, not a newer one."""
        topic = cluster.schedule_topic()
        topic_id = cluster.topic_id(topic)
        with ScheduleClient(topic, config(cluster)) as schedules:
            for text in ("fired", "overtaken"):
                schedules.at(1, to="o", id=text)
            schedules.at(LATER, to="o", id="overtaken")
            for offset, schedule_id in enumerate((b"fired", b"overtaken")):
                headers = fired_headers(offset, topic_id)
                cluster.write(topic, schedule_id, None, headers=headers)
            cluster.flush()
            assert schedules.get("fired") is None
            assert schedules.get(b"overtaken") == Schedule(LATER_MS, "o", b"", None)
            assert schedules.get("never") is None

    def test_is_not_awaited_for_ever(self, cluster: Cluster) -> None:
        """Another program's transaction is open: what it wrote may come or not."""
        topic = cluster.schedule_topic()
        producer = transactional(cluster)
        producer.begin_transaction()
        producer.produce(topic, b"", b"x", 0)
        assert producer.flush(10) == 0
        with ScheduleClient(topic, config(cluster)) as schedules:
            with pytest.raises(RetriableKafkaError, match="a transaction is open"):
                schedules.get("x", 0.5)
            producer.abort_transaction(10)
            assert schedules.get("x") is None

    def test_may_be_more_than_can_be_read_in_time(self, cluster: Cluster) -> None:
        topic = cluster.schedule_topic()
        for number in range(5_000):
            cluster.write(topic, b"%d" % number, b"x" * 100)
        cluster.flush()
        deadline = time.monotonic() + 2
        where = TopicPartition(topic, 0)
        found = read_partition(Settings(kafka_brokers=cluster.bootstrap), where, 2)
        next(found)
        wait_for("the end of its time", lambda: time.monotonic() > deadline)
        with pytest.raises(RetriableKafkaError, match=r"within 2 s: \d+ records were, and there"):
            list(found)


def test_threads_share_one(cluster: Cluster) -> None:
    topic = cluster.schedule_topic(3)
    with ScheduleClient(topic, config(cluster)) as schedules, ThreadPoolExecutor(20) as threads:
        done = threads.map(lambda it: schedules.at(LATER, to="o", id=str(it)), range(500))
        assert sorted(done) == sorted(map(str, range(500)))
    assert {AVRO.decode_value(it.value or b"").due_ms for it in cluster.read(topic)} == {LATER_MS}


def test_what_kafka_refuses(cluster: Cluster) -> None:
    missing = f"missing-{uuid.uuid4().hex[:8]}"
    with (
        ScheduleClient(missing, config(cluster)) as schedules,
        pytest.raises(KmsError, match=f"{missing} does not exist: python kms.py topics create"),
    ):
        schedules.at(LATER, to="o")
    with (
        ScheduleClient(cluster.schedule_topic(), config(cluster)) as schedules,
        pytest.raises(UndeliverableError, match="TOO_LARGE"),
    ):
        schedules.at(LATER, to="o", value=b"x" * 2_000_000)


def test_it_takes_kms_s_own_settings(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", cluster.bootstrap)
    with ScheduleClient(cluster.schedule_topic()) as schedules:
        assert schedules.get(schedules.after(60, to="o")) is not None
    topic = cluster.schedule_topic()
    monkeypatch.setenv("JSON_SCHEDULE_TOPICS", topic)
    producer = ck.Producer(config(cluster))
    with ScheduleClient(topic) as own, ScheduleClient(topic, producer=producer) as joined:
        own.at(LATER, to="o")
        joined.at(LATER, to="o")
    assert [(it.value or b"")[:8] for it in cluster.read(topic)] == 2 * [b'{"time":']


def test_schemas_of_a_registry(
    cluster: Cluster, registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = cluster.schedule_topic()
    monkeypatch.setenv("KAFKA_BROKERS", cluster.bootstrap)
    monkeypatch.setenv("REGISTRY_SCHEDULE_TOPICS", topic)
    monkeypatch.setenv("KMS_SCHEMA_REGISTRY_URL", registry.url)
    with ScheduleClient(topic) as schedules:
        wanted = Schedule(LATER_MS, "o", b"k", b"v", (("a", b"b"),))
        schedules.at(LATER, to="o", key="k", value="v", headers={"a": "b"}, id="x")
        assert schedules.get("x") == wanted
        schedules.every(60, to="o", id="again")
        with pytest.raises(RequestError, match="cron can't be read"):
            schedules.cron("every day", to="o")

    async def program() -> None:
        async with AsyncScheduleClient(topic) as schedules:
            assert await schedules.get("x") == wanted
            await asyncio.gather(*(schedules.at(LATER, to="o") for _ in range(100)))

    asyncio.run(program())
    values = [it.value or b"" for it in cluster.read(topic)]
    assert len(values) == 102
    assert {it[:1] for it in values} == {b"\0"}
    monkeypatch.setenv("KMS_SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
    with ScheduleClient(topic) as schedules, pytest.raises(RegistryAwayError):
        schedules.at(LATER, to="o")


def test_a_producer_that_is_broken_says_so(secured: SecuredKafka) -> None:
    """Of its user nothing may be written, which is fatal to it, until somebody allows that."""
    topic, user = secured.cluster.schedule_topic(), f"user-{uuid.uuid4().hex[:8]}"
    mine = {
        "bootstrap.servers": secured.broker.address("SASL"),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": secured.user(user),
    }
    secured.allow([acl(topic, user, AclOperation.DESCRIBE)])
    with ScheduleClient(topic, mine) as schedules:
        # Until the broker has heard of the user and the ACL.
        wait_for("the producer's end", lambda: says(BrokenProducerError, schedules))
        secured.allow([acl(topic, user, AclOperation.WRITE)])
        for _ in range(2):
            with pytest.raises(BrokenProducerError, match="CLUSTER_AUTHORIZATION_FAILED"):
                schedules.at(LATER, to="o")

    def is_written() -> int:
        with ScheduleClient(topic, mine) as schedules:
            says(BrokenProducerError, schedules)
        return len(secured.cluster.read(topic))

    assert wait_for("a new one to write", is_written) == 1


def acl(topic: str, user: str, operation: AclOperation) -> AclBinding:
    return AclBinding(
        *(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*"),
        *(operation, AclPermissionType.ALLOW),
    )


def says(wanted: type[KmsError], schedules: ScheduleClient) -> bool:
    try:
        schedules.at(LATER, to="o")
    except wanted:
        return True
    except KmsError:  # the broker has not heard of the user, or the ACL
        return False
    return False
