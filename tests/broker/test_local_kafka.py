"""The broker that the tests use can do what the service needs."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from local_kafka import LocalKafka

DEADLINE_SECONDS = 30.0


def test_transaction_on_compacted_topic(kafka: str) -> None:
    topic = new_topic(kafka)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(DEADLINE_SECONDS)

    producer.begin_transaction()
    producer.produce(topic, key=b"aborted", value=b"1")
    producer.abort_transaction(DEADLINE_SECONDS)
    producer.begin_transaction()
    producer.produce(topic, key=b"committed", value=b"2")
    producer.commit_transaction(DEADLINE_SECONDS)

    assert read_one(kafka, topic) == (b"committed", b"2")


def test_data_survives_restart_and_kill(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as broker:
        before = broker.bootstrap
        topic = new_topic(before)
        producer = Producer({"bootstrap.servers": before})
        producer.produce(topic, key=b"k", value=b"v")
        assert producer.flush(DEADLINE_SECONDS) == 0

        broker.restart()
        assert read_one(before, topic) == (b"k", b"v")
        broker.kill()
        assert broker.pid is None
        broker.start()
        assert broker.bootstrap == before
        assert read_one(before, topic) == (b"k", b"v")
    assert broker.pid is None
    assert broker.log_path.stat().st_size > 0


def new_topic(bootstrap: str) -> str:
    name = f"topic-{uuid.uuid4()}"
    topic = NewTopic(name, 1, 1, config={"cleanup.policy": "compact"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([topic])[name].result(DEADLINE_SECONDS)
    return name


def read_one(bootstrap: str, topic: str) -> tuple[bytes | None, bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": str(uuid.uuid4()),
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                return message.key(), message.value()
    finally:
        consumer.close()
    raise AssertionError(f"nothing arrived on {topic} in {DEADLINE_SECONDS:.0f} s")
