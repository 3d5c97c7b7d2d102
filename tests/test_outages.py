"""That Kafka is away is said, also where librdkafka says nothing of it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from contextlib import closing

import pytest

from kms.kafka import TopicPartition, TopicReader, config
from kms.repeats import Repeats
from kms.settings import Settings


class Nobody:
    """A listener who is never told of an assignment."""

    def assigned(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        raise AssertionError(partitions)

    def revoked(self, partitions: list[TopicPartition]) -> None: ...

    def lost(self, partitions: list[TopicPartition]) -> None: ...


def test_who_is_out_of_the_group_for_a_session_says_so_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config, "_outages", Repeats())
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING):
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(kafka_brokers=address, kms_session_timeout_ms=6_000)
        with closing(TopicReader(settings, Nobody())) as reader:
            reader.poll(1, 0.0)
            assert not caplog.records
            reader._member_at -= 7.0
            for _ in range(3):
                reader.poll(1, 0.0)
    (said,) = caplog.records
    assert said.getMessage() == "Kafka: out of the consumer group for 7 s; trying again."
