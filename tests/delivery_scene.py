"""Deliveries over writers that note what they are told; for tests without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import pytest

from kms import at_least_once, delivery
from kms.assignment import Assignment, OwnedPartition, Snapshot
from kms.at_least_once import AtLeastOnce
from kms.delivery import ExactlyOnce
from kms.due import Due
from kms.errors import (
    KafkaError,
)
from kms.formats import AVRO
from kms.kafka import TopicPartition, Undelivered
from kms.messages import Job
from kms.schedule import Header, Schedule, fired_headers
from kms.settings import Settings

HEADERS: tuple[Header, ...] = (("h", b"v"), ("null", None))


class Sent(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    partition: int


class FakeWriter:
    """Both kinds of writer; notes every call in ``calls``."""

    def __init__(self, _settings: Settings, purpose: str = "") -> None:
        self.purpose = purpose
        self.calls: list[Any] = []
        self.refuses: dict[str, Exception] = {}  # at once, by topic
        self.undelivered: dict[str, KafkaError] = {}  # later, by topic
        self.commit_error: Exception | None = None
        self.flushes = [True]
        self._refused: list[Undelivered] = []

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        *,
        tag: object,
        partition: int = -1,
    ) -> None:
        if topic in self.refuses:
            raise self.refuses[topic]
        if topic in self.undelivered:
            self._refused.append(Undelivered(tag, self.undelivered[topic], topic))
        self.calls.append(Sent(topic, key, value, tuple(headers), partition))

    def refused(self) -> list[Undelivered]:
        found, self._refused = self._refused, []
        return found

    def start(self, _give_up: Callable[[], bool]) -> None:
        self.calls.append("start")

    def begin(self) -> None:
        self.calls.append("begin")

    def commit(self, offsets: Mapping[TopicPartition, int], group_metadata: Any) -> None:
        self.calls.append(("commit", dict(offsets), group_metadata))
        if self.commit_error is not None:
            raise self.commit_error

    def abort(self) -> None:
        self.calls.append("abort")

    def flush(self, _timeout_seconds: float = 0.0) -> bool:
        self.calls.append("flush")
        return self.flushes.pop(0) if len(self.flushes) > 1 else self.flushes[0]


class FakeStretches:
    """Reads what the test put on the partitions."""

    found: ClassVar[list[tuple[TopicPartition, bytes | None]]]
    asked: ClassVar[list[Mapping[TopicPartition, int]]]
    error: ClassVar[Exception | None]

    def __init__(self, _settings: Settings) -> None: ...

    def keys(
        self, starts: Mapping[TopicPartition, int], _timeout_seconds: float
    ) -> list[tuple[TopicPartition, bytes | None]]:
        self.asked.append(starts)
        if self.error is not None:
            raise self.error
        return self.found


@pytest.fixture(autouse=True)
def fake_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "TransactionalWriter", FakeWriter)
    monkeypatch.setattr(delivery, "_TURNS", ("",))
    monkeypatch.setattr(at_least_once, "PlainWriter", FakeWriter)
    monkeypatch.setattr(delivery, "StretchReader", FakeStretches)
    FakeStretches.found, FakeStretches.asked, FakeStretches.error = [], [], None


@pytest.fixture
def assignment() -> Assignment:
    parts = {
        4: OwnedPartition(4, TopicPartition("schedules", 3), "topic-id", 100, AVRO),
        5: OwnedPartition(5, TopicPartition("schedules", 0), "topic-id", 200, AVRO),
        6: OwnedPartition(6, TopicPartition("more", 0), "other-id", 300, AVRO),
    }
    return Assignment("metadata", parts)


def made(
    kind: type[ExactlyOnce | AtLeastOnce],
    assignment: Assignment,
    settings: Settings = Settings(),  # noqa: B008 - it can't be changed
) -> tuple[Any, FakeWriter]:
    fires = kind(settings, assignment)
    writer = fires._writer
    assert isinstance(writer, FakeWriter)
    return fires, writer


def job(number: int = 4, offset: int = 7, topic: str = "target", *, again: bool = False) -> Job:
    due = Due(number, b"id%d" % offset, offset, 0, b"encoded", HEADERS, again)
    return Job(due, Schedule(0, topic, b"key", None if offset == 9 else b"value", HEADERS))


def target(of: Job) -> Sent:
    return Sent(of.schedule.topic, b"key", of.schedule.value, HEADERS, -1)


def tombstone(of: Job, where: TopicPartition, topic_id: str) -> Sent:
    return Sent(where[0], of.due.id, None, tuple(fired_headers(of.due.offset, topic_id)), where[1])


SCHEDULES = TopicPartition("schedules", 3)
BEFORE = Snapshot("metadata", {SCHEDULES: 90, TopicPartition("schedules", 0): 200})
