"""The client for programs, its schedules fired by a running instance."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import get_args

import confluent_kafka as ck
import pytest

from kms.client import AsyncScheduleClient, FormatName, ScheduleClient
from kms.errors import KmsError, RequestError, RetriableKafkaError, UndeliverableError
from kms.formats import AVRO
from kms.kafka import java_partition
from kms.schedule import Schedule, fired_headers
from tests.broker.cluster import Cluster, now_ms
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
LATER = datetime(2100, 1, 1, tzinfo=UTC)
LATER_MS = 4_102_444_800_000
SETTING = {
    "avro": "SCHEDULE_TOPICS",
    "json": "JSON_SCHEDULE_TOPICS",
    "headers": "HEADER_SCHEDULE_TOPICS",
}


def config(cluster: Cluster) -> dict[str, object]:
    return {"bootstrap.servers": cluster.bootstrap}


def test_what_programs_schedule_fires(cluster: Cluster, instance: MakeInstance) -> None:
    """In each format: now, replaced, cancelled; the fired ones are no longer there to get."""
    target = cluster.topic()
    topics = {form: cluster.schedule_topic(3) for form in get_args(FormatName)}
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


def transactional(cluster: Cluster) -> ck.Producer:
    producer = ck.Producer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "transactional.id": f"program-{uuid.uuid4().hex[:8]}",
        }
    )
    producer.init_transactions(30)
    return producer


def test_it_joins_the_caller_s_transaction(cluster: Cluster) -> None:
    """With the caller's other partitioner; where it aborts, there is no schedule."""
    topic, own = cluster.schedule_topic(7), cluster.topic()
    producer = transactional(cluster)
    with (
        ScheduleClient(topic, producer=producer) as schedules,
        ScheduleClient(topic, config(cluster)) as other,
    ):
        ids = [f"order-{number}" for number in range(20)]
        producer.begin_transaction()
        producer.produce(own, b"undone")
        schedules.at(LATER, to="o", id=ids[0])
        producer.abort_transaction(10)
        producer.begin_transaction()
        producer.produce(own, b"done")
        for each in ids[1:]:
            schedules.at(LATER, to="o", id=each)
        producer.commit_transaction(10)
        assert [it.value for it in cluster.read(own)] == [b"done"]
        found = cluster.read(topic)
        assert sorted(it.key or b"" for it in found) == sorted(it.encode() for it in ids[1:])
        # A client with a producer of its own, and so Java's partitioner, finds and replaces them.
        for each in ids[1:]:
            other.cancel(each)
        both = cluster.read(topic)
        assert len(both) == 2 * len(found)
        assert {(it.key, it.partition) for it in both} == {(it.key, it.partition) for it in found}
        assert {java_partition(it.key or b"", 7) for it in both} == {it.partition for it in both}
        with pytest.raises(RequestError, match="give the client a config"):
            schedules.get(ids[1])
        missing = ScheduleClient("missing", producer=producer)
        with pytest.raises(KmsError, match="The schedule topic missing does not exist"):
            missing.at(LATER, to="o")


def test_many_at_once_in_asyncio(cluster: Cluster) -> None:
    topic = cluster.schedule_topic(3)

    async def program() -> None:
        async with AsyncScheduleClient(topic, config(cluster)) as schedules:
            threads = threading.active_count()
            ids = await asyncio.gather(
                *(schedules.at(LATER, to="o", value=str(number)) for number in range(2_000))
            )
            assert len(set(ids)) == 2_000
            assert threading.active_count() - threads < 100  # those of to_thread
            await schedules.after(timedelta(days=1), to="o", id="mine")
            assert await schedules.get("mine") is not None
            assert await schedules.cancel(b"mine") == b"mine"
            assert await schedules.get("mine") is None
            with pytest.raises(UndeliverableError):
                await schedules.at(LATER, to="o", value=b"x" * 2_000_000)

    asyncio.run(program())
    assert len(cluster.read(topic)) == 2_002


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
