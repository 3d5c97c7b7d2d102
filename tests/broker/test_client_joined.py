"""The client for programs with a producer of the caller's, within its transaction and without."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import confluent_kafka as ck
import pytest

from kms.client import ScheduleClient
from kms.errors import (
    KafkaError,
    KmsError,
    RequestError,
    UndeliverableError,
)
from kms.kafka import java_partition
from kms.kafka.reports import LATEST_SECONDS
from tests.broker.cluster import Cluster
from tests.broker.test_client import LATER, config, transactional


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


def test_what_is_refused_in_a_transaction_makes_its_commit_fail(cluster: Cluster) -> None:
    """The broker refuses it later: nothing is awaited before."""
    topic = cluster.schedule_topic(max_message_bytes="1000")
    producer = transactional(cluster)
    schedules = ScheduleClient(topic, producer=producer)
    producer.begin_transaction()
    assert schedules.at(LATER, to="o", id="x", value=b"x" * 2_000) == "x"
    with pytest.raises(ck.KafkaException):
        producer.commit_transaction(20)
    with pytest.raises(RequestError, match=r"and abort_transaction\(\) after a failure"):
        schedules.at(LATER, to="o")
    producer.abort_transaction(10)
    assert cluster.read(topic) == []


class TestTheCallersProducer:
    def test_without_transactions_is_awaited(self, cluster: Cluster) -> None:
        """Nobody flushes it."""
        topic = cluster.schedule_topic(3, max_message_bytes="1000")
        producer = ck.Producer(config(cluster) | {"linger.ms": 300})
        with ScheduleClient(topic, producer=producer) as schedules:
            assert schedules.at(LATER, to="o", id="mine") == "mine"
            (found,) = cluster.read(topic)
            assert (found.key, found.partition) == (b"mine", java_partition(b"mine", 3))
            with pytest.raises(UndeliverableError, match="TOO_LARGE"):
                schedules.at(LATER, to="o", value=b"x" * 2_000)  # says the broker
        producer.produce(cluster.topic(), b"it is still the caller's")
        assert producer.flush(10) == 0

    def test_its_other_reports_still_come(self, cluster: Cluster) -> None:
        """By another thread that polls, which may take ours too."""
        topic, other = cluster.schedule_topic(), cluster.topic()
        producer = ck.Producer(config(cluster))
        came: list[object] = []
        over = threading.Event()

        def poll() -> None:
            while not over.is_set():
                producer.poll(0.01)

        polling = threading.Thread(target=poll)
        polling.start()
        with ScheduleClient(topic, producer=producer) as schedules, ThreadPoolExecutor(10) as pool:
            for _ in range(100):
                producer.produce(other, b"x", on_delivery=lambda *report: came.append(report))
            list(pool.map(lambda it: schedules.at(LATER, to="o", id=str(it)), range(100)))
            assert len(cluster.read(topic)) == 100
        assert producer.flush(10) == 0
        over.set()
        polling.join()
        assert len(came) == 100

    def test_needs_a_transaction_that_has_begun(self, cluster: Cluster) -> None:
        topic = cluster.schedule_topic()
        producer = transactional(cluster)
        schedules = ScheduleClient(topic, producer=producer)
        for _ in range(2):
            with pytest.raises(RequestError, match=r"Call begin_transaction\(\) first"):
                schedules.at(LATER, to="o")
        producer.begin_transaction()
        schedules.at(LATER, to="o", id="x")
        producer.commit_transaction(10)
        with pytest.raises(RequestError, match=r"Call begin_transaction\(\) first"):
            schedules.at(LATER, to="o")
        assert [it.key for it in cluster.read(topic)] == [b"x"]

    def test_may_be_one_that_was_not_begun_with(self, cluster: Cluster) -> None:
        """Its owner can still do that."""
        name = {"transactional.id": f"program-{uuid.uuid4().hex[:8]}"}
        producer = ck.Producer(config(cluster) | name)
        schedules = ScheduleClient(cluster.schedule_topic(), producer=producer)
        with pytest.raises(RequestError, match=r"Call begin_transaction\(\) first"):
            schedules.at(LATER, to="o")
        producer.init_transactions(30)

    def test_is_asked_once_whether_it_has_transactions(self, cluster: Cluster) -> None:
        """To find out begins one, and aborts it."""

        class Counting(ck.Producer):
            begun = 0

            def begin_transaction(self, *args: Any) -> None:
                self.begun += 1
                super().begin_transaction(*args)

        name = {"transactional.id": f"program-{uuid.uuid4().hex[:8]}"}
        producer = Counting(config(cluster) | name)
        producer.init_transactions(30)
        schedules = ScheduleClient(cluster.schedule_topic(), producer=producer)
        for _ in range(3):
            with pytest.raises(RequestError, match=r"Call begin_transaction\(\) first"):
                schedules.at(LATER, to="o")
        assert producer.begun == 1

    def test_may_report_failures_only(self, cluster: Cluster) -> None:
        topic = cluster.schedule_topic(max_message_bytes="1000")
        producer = ck.Producer(config(cluster) | {"delivery.report.only.error": True})
        schedules = ScheduleClient(topic, producer=producer)
        began = time.monotonic()
        assert schedules.at(LATER, to="o", id="mine") == "mine"
        assert time.monotonic() - began < LATEST_SECONDS / 2
        assert [it.key for it in cluster.read(topic)] == [b"mine"]
        with pytest.raises(UndeliverableError, match="TOO_LARGE"):
            schedules.at(LATER, to="o", value=b"x" * 2_000)

    def test_may_be_closed_by_its_owner(self, cluster: Cluster) -> None:
        topic = cluster.schedule_topic()
        known, unknown = (ck.Producer(config(cluster)) for _ in range(2))
        schedules = ScheduleClient(topic, producer=known)
        schedules.at(LATER, to="o")
        known.close()
        unknown.close()
        for each in (schedules, ScheduleClient(topic, producer=unknown)):
            with pytest.raises(KafkaError, match="closed; the client needs a producer that is op"):
                each.at(LATER, to="o")
