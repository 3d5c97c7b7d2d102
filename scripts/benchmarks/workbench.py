"""What every case works with: topics, schedules to write, kms as a process, a progress bar."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import confluent_kafka as ck
from rich.progress import Progress

from benchmarks.arrivals import Arrivals
from benchmarks.results import scaled
from kms.formats import AVRO
from kms.schedule import Header, Schedule
from tests.broker.cluster import DEADLINE_SECONDS, Cluster, now_ms, wait_for
from tests.broker.instance import Instance

VALUE_BYTES = 100
LONGEST_SECONDS = 900.0  # nothing is waited for longer; Kafka allows no longer transaction
DAY_MS = 24 * 3600 * 1000

_SHOW_EVERY = 1_000


class Record(NamedTuple):
    """A schedule as it is written to the topic."""

    id: bytes
    value: bytes
    due_ms: int


class Workbench:
    """One run of ``scripts/bench``; everything it starts ends with the context ``exits``."""

    def __init__(
        self, cluster: Cluster, folder: Path, exits: ExitStack, progress: Progress, n: int | None
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self._exits = exits
        self._progress = progress
        self._n = n
        self._random = random.Random(6)
        self._task = progress.add_task("starting", total=None)

    def count(self, count: int, full_count: int | None = None) -> int:
        """How many schedules instead of ``count`` in a case of ``full_count``, as --n has it."""
        return scaled(count, full_count or count, self._n)

    def stage(self, text: str, total: int | None = None) -> None:
        """Show what is being done now."""
        self._progress.reset(self._task, description=text, total=total)

    def done(self, count: int) -> None:
        """Show how much of the stage is done."""
        self._progress.update(self._task, completed=count)

    def record(self, target: str, due_ms: int) -> Record:
        """A schedule with a random id of 32 characters and a random value of 100 bytes."""
        schedule_id = self._random.randbytes(16).hex().encode()
        value = self._random.randbytes(VALUE_BYTES)
        schedule = Schedule(due_ms, target, schedule_id, value)
        return Record(schedule_id, AVRO.encode_value(schedule), due_ms)

    def far_future(self, target: str, count: int) -> Iterator[Record]:
        """Schedules that are due some time next month."""
        start_ms = now_ms() + DAY_MS
        for _ in range(count):
            yield self.record(target, start_ms + self._random.randrange(30 * DAY_MS))

    def spread(self, target: str, count: int, start_ms: int, length_ms: int) -> Iterator[Record]:
        """Schedules that are due at random moments within ``length_ms``."""
        for _ in range(count):
            yield self.record(target, start_ms + self._random.randrange(length_ms))

    def updates(self, records: Iterable[Record], ids: list[bytes]) -> Iterator[Record]:
        """The same values under ids that come again and again."""
        for record in records:
            yield record._replace(id=self._random.choice(ids))

    def write(
        self, topic: str, records: Iterable[Record], total: int, headers: Sequence[Header] = ()
    ) -> None:
        """Write and wait until the broker has them, all with these headers."""
        config: dict[str, str | int | bool] = {"enable.idempotence": True}
        with self._writing(topic, records, total, config, headers) as producer:
            producer.flush(LONGEST_SECONDS)

    @contextmanager
    def write_hidden(self, topic: str, records: Iterable[Record], total: int) -> Iterator[None]:
        """Write in one open transaction; all of it can be read at once when the context ends.

        So that writing takes no time from whoever reads.
        """
        config: dict[str, str | int | bool] = {
            "transactional.id": f"bench-{uuid.uuid4().hex}",
            "transaction.timeout.ms": int(LONGEST_SECONDS * 1000),
        }
        with self._writing(topic, records, total, config) as producer:
            producer.flush(LONGEST_SECONDS)
            yield
            producer.commit_transaction(DEADLINE_SECONDS)

    def arrivals(self, topic: str, *, keep_keys: bool = False) -> Arrivals:
        """A read_committed reader of a topic."""
        return self._exits.enter_context(
            closing(Arrivals(self.cluster.bootstrap, topic, keep_keys=keep_keys))
        )

    def kms(
        self,
        topic: str,
        cache: Path | None = None,
        group: str | None = None,
        identity: str | None = None,
    ) -> Instance:
        """An instance with its default settings, not started; ``identity`` is KMS_INSTANCE_ID."""
        instance = Instance(
            self.cluster,
            self.folder,
            [topic],
            cache=cache,
            group=group,
            KMS_INSTANCE_ID=identity or "",
        )
        self._exits.callback(instance.clean_up)
        return instance

    def cache(self) -> Path:
        """The path of a new SQLite file."""
        return self.folder / f"bench-{uuid.uuid4().hex[:8]}.sqlite"

    def wait_for_count(self, arrivals: Arrivals, count: int, kms: Instance | None = None) -> None:
        """Wait until so many messages arrived; the bar shows it.

        Raises RuntimeError, with its log, if the instance that is to send them ends before.
        """

        def arrived() -> bool:
            self.done(arrivals.count)
            if kms is not None and kms.process.poll() is not None:
                raise RuntimeError(f"kms ended with {kms.process.returncode}\n{kms.log}")
            return arrivals.count >= count

        wait_for(f"{count} messages", arrived, LONGEST_SECONDS)

    @contextmanager
    def _writing(
        self,
        topic: str,
        records: Iterable[Record],
        total: int,
        config: dict[str, str | int | bool],
        headers: Sequence[Header] = (),
    ) -> Iterator[ck.Producer]:
        self.stage("writing schedules", total)
        producer = ck.Producer(
            {"bootstrap.servers": self.cluster.bootstrap, "linger.ms": 20, "log_level": 0, **config}
        )
        if "transactional.id" in config:
            producer.init_transactions(DEADLINE_SECONDS)
            producer.begin_transaction()
        for number, record in enumerate(records):
            while True:
                try:
                    producer.produce(topic, record.value, record.id, headers=list(headers))
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % _SHOW_EVERY == 0:
                self.done(number)
        yield producer
