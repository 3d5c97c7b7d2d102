"""What the broker tests share: a cluster to write to and read from, and instances of kms."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from kms.formats import FORMATS
from kms.schedule import Header, Schedule

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0

T = TypeVar("T")


class Arrived(NamedTuple):
    """A message as a read_committed consumer saw it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    timestamp_ms: int  # set by the broker on the target topics: when it was appended


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def wait_for(what: str, look: Callable[[], T | None], seconds: float = DEADLINE_SECONDS) -> T:
    """Look until there is something (not None, not False); fail after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}; last saw {found!r}")
        time.sleep(0.02)


class Cluster:
    """The broker of the test run; every name it gives out is fresh."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        quiet: dict[str, str | int | float | bool] = {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
        }
        self.admin = AdminClient(quiet)
        self._producer = ck.Producer({**quiet, "linger.ms": 5, "enable.idempotence": True})
        self._refused: list[str] = []

    def topic(self, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """A new target topic; message timestamps are the broker's."""
        config = {"message.timestamp.type": "LogAppendTime"} | _dotted(config)
        return self._create(name or f"target-{uuid.uuid4().hex[:8]}", partitions, config)

    def schedule_topic(self, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """A new compacted topic. Nothing is compacted unless the test asks for it."""
        config = {"cleanup.policy": "compact", "segment.ms": "86400000"} | _dotted(config)
        return self._create(name or f"schedules-{uuid.uuid4().hex[:8]}", partitions, config)

    def compacted_topic(self, partitions: int = 1) -> str:
        """A schedule topic that is compacted all the time, and forgets tombstones soon."""
        return self.schedule_topic(
            partitions,
            segment_ms="1000",
            min_cleanable_dirty_ratio="0.0001",
            delete_retention_ms="1000",
            min_compaction_lag_ms="0",
        )

    def write(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int = -1,
        headers: Sequence[Header] = (),
    ) -> None:
        """Queue a record; ``flush`` makes sure of all of them."""
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, self._delivered, headers=list(headers)
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def schedule(
        self, topic: str, schedule_id: bytes, schedule: Schedule, *, partition: int = -1
    ) -> None:
        """Queue a schedule in Avro."""
        self.write(topic, schedule_id, FORMATS["avro"].encode(schedule), partition=partition)

    def flush(self) -> None:
        assert self._producer.flush(DEADLINE_SECONDS) == 0
        assert not self._refused, self._refused

    def read(self, topic: str, isolation: str = "read_committed") -> list[Arrived]:
        """All that is in a topic up to its last stable offset, by partition and offset."""
        return sorted(self._read(topic, isolation), key=lambda it: (it.partition, it.offset))

    def arrived(self, topic: str, count: int, seconds: float = DEADLINE_SECONDS) -> list[Arrived]:
        """Wait until at least ``count`` messages are in a topic; answers all of them."""

        def enough() -> list[Arrived] | None:
            found = self.read(topic)
            return found if len(found) >= count else None

        return wait_for(f"{count} messages in {topic}", enough, seconds)

    def end_offset(self, topic: str, partition: int = 0) -> int:
        """The high watermark, control records included."""
        consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused"})
        try:
            where = ck.TopicPartition(topic, partition)
            return int(consumer.get_watermark_offsets(where, timeout=10)[1])
        finally:
            consumer.close()

    def committed(self, group: str, topic: str, partition: int = 0) -> int:
        """The group's committed offset."""
        request = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, partition)])
        found = self.admin.list_consumer_group_offsets([request])[group].result()
        return int(found.topic_partitions[0].offset)

    def members(self, group: str) -> int:
        """How many members a group has."""
        return len(self.admin.describe_consumer_groups([group])[group].result().members)

    def _create(self, name: str, partitions: int, config: Mapping[str, str]) -> str:
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config))
        self.admin.create_topics([new])[name].result()
        wait_for(f"topic {name}", lambda: self._has_leaders(name, partitions))
        return name

    def _has_leaders(self, name: str, partitions: int) -> bool:
        found = self.admin.list_topics(name, timeout=10).topics[name]
        return found.error is None and len(found.partitions) == partitions

    def _delivered(self, error: ck.KafkaError | None, message: ck.Message) -> None:
        if error is not None:
            self._refused.append(f"{message.topic()}: {error}")

    def _read(self, topic: str, isolation: str) -> Iterator[Arrived]:
        consumer = ck.Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "unused",
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([ck.TopicPartition(topic, number, 0) for number in partitions])
            open_partitions = set(partitions)
            while open_partitions:
                for message in consumer.consume(10_000, 0.05):
                    error = message.error()
                    if error is None:
                        yield _arrived(message)
                    elif error.code() == ck.KafkaError._PARTITION_EOF:
                        open_partitions.discard(message.partition())
                    else:
                        raise AssertionError(str(error))
        finally:
            consumer.close()


class Instance:
    """``python kms.py run`` as a process of its own; ``log`` is what it printed so far.

    ``program`` may be another one that runs kms with something added.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        topics: Sequence[str],
        *,
        group: str | None = None,
        cache: Path | None = None,
        program: Path = ROOT / "kms.py",
        **environment: str,
    ) -> None:
        self.cluster = cluster
        self.group = group or f"group-{uuid.uuid4().hex[:8]}"
        self.cache = cache or folder / f"cache-{uuid.uuid4().hex[:8]}.sqlite"
        self._log_path = folder / f"log-{uuid.uuid4().hex[:8]}.txt"
        self._environment = {
            **{name: value for name, value in os.environ.items() if "KAFKA" not in name},
            "KAFKA_BROKERS": cluster.bootstrap,
            "SCHEDULE_TOPICS": ",".join(topics),
            "CONSUMER_GROUP_ID": self.group,
            "PROMETHEUS_SCRAPING_ENDPOINT_PORT": "0",
            "KMS_CACHE": str(self.cache),
            **environment,
        }
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._starts_at = 0

    @property
    def log(self) -> str:
        """What the current process printed."""
        return self._log_path.read_bytes()[self._starts_at :].decode()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def start(self, *arguments: str) -> Instance:
        """Start it, or start it again; does not wait for it to do anything."""
        with self._log_path.open("ab") as log:
            self._starts_at = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, str(self._program), "run", *arguments],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def wait_for_log(self, text: str, count: int = 1, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until the log has ``text``, ``count`` times."""

        def said() -> bool:
            if self.log.count(text) >= count:
                return True
            if self.process.poll() is not None and self.log.count(text) < count:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.log}")
            return False

        try:
            wait_for(f"{text!r} in the log", said, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def caught_up(self, partitions: int = 1) -> Instance:
        """Wait until this many partitions may fire."""
        self.wait_for_log("Caught up:", partitions)
        return self

    def metrics(self) -> dict[str, float]:
        """Every sample by name; those with labels as ``name{label="value",…}``, sorted."""
        port = self.log.split("http://localhost:")[-1].split("/")[0]
        with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)

    def stop(self) -> int:
        """SIGTERM; answers the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the end; answers the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s\n{self.log}") from None

    def clean_up(self) -> None:
        """Nothing is left behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()


def _arrived(message: ck.Message) -> Arrived:
    return Arrived(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        message.headers() or [],  # type: ignore[arg-type]
        message.timestamp()[1],
    )


def _dotted(config: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "."): value for name, value in config.items()}
