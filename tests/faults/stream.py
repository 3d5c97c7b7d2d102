"""A steady stream of new, updated and cancelled schedules of all formats and kinds."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import confluent_kafka as ck

from tests.broker.cluster import Cluster, now_ms
from tests.faults.lanes import Body, Lane

EVERY_MS, TIMES = 2_000, 6

Run = tuple[bytes, int]  # an id, and which of the records under it

_TICK_SECONDS = 0.05
_NEAR_MS = 15_000
_BAD = 0.02  # of all records
_OFTEN = 0.04  # what recurs


class Version(NamedTuple):
    """One record under an id; ``due_ms`` None is a cancel."""

    number: int
    due_ms: int | None


class Stream:
    """Writes about ``rate`` records a second to topics of all formats, from a thread of its own.

    A record that replaces another is sure to be seen in time if it was written ``margin_seconds``
    before the other's due time: longer than any fault lasts. Within that, which of the two wins
    is a race, and both answers are right; what must never happen is twice, or neither.
    """

    def __init__(
        self, cluster: Cluster, lanes: Sequence[Lane], seed: int, rate: int, margin_seconds: float
    ) -> None:
        self.lanes = lanes
        self.target, self.dead, self.history = cluster.topic(4), cluster.topic(), cluster.topic(4)
        self.margin_ms = int(margin_seconds * 1000)
        self.versions: dict[bytes, list[Version]] = {}
        self.written_ms: dict[Run, int] = {}  # when the broker had it
        self.bad: set[bytes] = set()  # ids of records that are no schedules
        self.often: dict[Run, int] = {}  # when what recurs is first due, in ms
        self.ended: set[Run] = set()  # of those: what came next under the id ended it
        self._source = random.Random(f"stream {seed}")
        self._rate = rate
        self._recurring = 0
        self._going: Run = (b"", 0)
        self._open: list[bytes] = []  # ids that may still be updated or cancelled
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._producer = ck.Producer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 300_000,
                "log_level": 0,
            }
        )

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """End writing; all that was written is acknowledged then."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
            assert self._producer.flush(300) == 0

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            for _ in range(int(self._rate * _TICK_SECONDS)):
                self._write_one()
            self._producer.poll(0)

    def _write_one(self) -> None:
        choice = self._source.random()
        if choice < _BAD:
            self._write_bad()
        elif choice < _BAD + _OFTEN:
            self._write_often()
        elif choice < 0.7 or not self._open:
            schedule_id = b"%d" % len(self.versions)
            self.versions[schedule_id] = []
            if self._source.random() < 0.4:
                self._open.append(schedule_id)
            self._write(schedule_id, now_ms() + self._ahead_ms())
        else:
            schedule_id = self._open.pop(self._source.randrange(len(self._open)))
            self._write(schedule_id, None if choice > 0.9 else now_ms() + self._ahead_ms())

    def _write_often(self) -> None:
        """What recurs, or the cancel of one that does, or an update."""
        schedule_id, number = self._going  # the last one
        if self._source.random() < 0.4 and schedule_id and self._going not in self.ended:
            self.ended.add(self._going)
            if self._source.random() < 0.5:
                self._produce(schedule_id, None, number + 1)
            else:
                self._write_run(schedule_id, number + 1)
            return
        self._write_run(b"often-%d" % self._recurring, 0)
        self._recurring += 1

    def _write_run(self, schedule_id: bytes, number: int) -> None:
        self._going = schedule_id, number
        soon_ms = now_ms() + self._source.randrange(5_000)
        # When a cron that says the same as the interval has it.
        due_ms = self.often[self._going] = -(-soon_ms // EVERY_MS) * EVERY_MS
        packed, written = packed_run(self._going), lane_of(self.lanes, schedule_id).written
        body = written.body(due_ms, self.target, schedule_id, packed)
        asked = {"kms-count": b"%d" % TIMES, "kms-missed": b"all"}
        if self._source.random() < 0.5:
            asked["kms-every"] = b"%dms" % EVERY_MS
        else:
            asked["kms-cron"] = b"*/%d * * * * *" % (EVERY_MS // 1000)
        self._produce(schedule_id, Body(body.value, {**body.headers, **asked}), number)

    def _write_bad(self) -> None:
        """A record that can only end as a dead letter."""
        schedule_id = b"bad-%d" % len(self.bad)
        self.bad.add(schedule_id)
        body = lane_of(self.lanes, schedule_id).written.bad(self.target, self._source)
        self._produce(schedule_id, body, -len(self.bad))

    def _ahead_ms(self) -> int:
        if self._source.random() < 0.1:
            return -1000
        if self._source.random() < 0.3:
            return self._source.randrange(self.margin_ms, 2 * self.margin_ms)
        return self._source.randrange(_NEAR_MS)

    def _write(self, schedule_id: bytes, due_ms: int | None) -> None:
        number, body, lane = len(self.versions[schedule_id]), None, lane_of(self.lanes, schedule_id)
        if due_ms is not None:
            due_ms, packed = lane.due_ms(due_ms), packed_run((schedule_id, number))
            body = lane.written.body(due_ms, self.target, schedule_id, packed)
        self.versions[schedule_id].append(Version(number, due_ms))
        self._produce(schedule_id, body, number)

    def _produce(self, schedule_id: bytes, body: Body | None, number: int) -> None:
        lane = lane_of(self.lanes, schedule_id)
        written = partial(self._on_written, schedule_id, number)
        partition = _number(schedule_id) // len(self.lanes) % lane.partitions
        value, headers = (None, {}) if body is None else body
        while True:
            try:
                self._producer.produce(
                    lane.topic,
                    value,
                    schedule_id,
                    partition,
                    written,
                    headers=list(headers.items()),
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _on_written(
        self, schedule_id: bytes, number: int, error: ck.KafkaError | None, _message: ck.Message
    ) -> None:
        assert error is None, error
        self.written_ms[schedule_id, number] = now_ms()


def packed_run(run: Run) -> bytes:
    """The value of its messages."""
    return b"%s %d" % run


def unpacked_run(value: bytes) -> Run:
    """What ``packed_run`` made it of."""
    schedule_id, number = value.split()
    return schedule_id, int(number)


def lane_of(lanes: Sequence[Lane], schedule_id: bytes) -> Lane:
    """An id stays with one topic and one partition."""
    return lanes[_number(schedule_id) % len(lanes)]


def _number(schedule_id: bytes) -> int:
    return int(schedule_id.rpartition(b"-")[2])
