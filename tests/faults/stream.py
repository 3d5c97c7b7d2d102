"""A steady stream of new, updated and cancelled schedules, and what became of them."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import confluent_kafka as ck

from tests.broker.cluster import Cluster, now_ms
from tests.faults.lanes import Body, Lane

_TICK_SECONDS = 0.05
_NEAR_MS = 15_000
_BAD = 0.02  # of all records
_OFTEN = 0.04  # what recurs
_EVERY_MS, _TIMES = 2_000, 6


class Version(NamedTuple):
    """One record under an id; ``due_ms`` None is a cancel."""

    number: int
    due_ms: int | None


class Often(NamedTuple):
    """What recurs: when first, and its messages so far, as the broker had them."""

    due_ms: int
    seen_ms: list[int]

    def early(self) -> int:
        """How many came before their time."""
        return sum(
            at < self.due_ms + number * _EVERY_MS for number, at in enumerate(sorted(self.seen_ms))
        )


class Tally(NamedTuple):
    """What became of the schedules of one format."""

    fired: int
    lost: int
    twice: int


class Wanted(NamedTuple):
    """A message that has to come, and how often."""

    form: str
    key: bytes
    value: bytes
    times: int = 1


class Verdict(NamedTuple):
    """What the target and the dead-letter topic say: what is behind ``buried`` must be 0.

    ``schedules`` are ids, ``records`` what was written under them. ``recurring`` are of the ids.
    """

    schedules: int
    recurring: int
    records: int
    fired: int
    buried: int
    lost: int
    twice: int
    cancelled_but_fired: int
    early: int
    not_buried: int
    buried_twice: int

    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not any(self[5:])

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


class Stream:
    """Writes about ``rate`` records a second to topics of all formats, from a thread of its own.

    A record that replaces another is sure to be seen in time if it was written ``margin_seconds``
    before the other's due time: longer than any fault lasts. Within that, which of the two wins
    is a race, and both answers are right; what must never happen is twice, or neither.
    """

    def __init__(
        self, cluster: Cluster, lanes: Sequence[Lane], seed: int, rate: int, margin_seconds: float
    ) -> None:
        self._lanes = lanes
        self.target, self.dead = cluster.topic(4), cluster.topic()
        self._cluster = cluster
        self._source = random.Random(f"stream {seed}")
        self._rate = rate
        self._margin_ms = int(margin_seconds * 1000)
        self._bad: set[bytes] = set()  # ids of records that are no schedules
        self._often: dict[bytes, int] = {}  # when each that recurs is first due
        self._ended: list[bytes] = []  # of those, the cancelled
        self._versions: dict[bytes, list[Version]] = {}
        self._written_ms: dict[tuple[bytes, int], int] = {}  # when the broker had it
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

    @property
    def recurring(self) -> int:
        """How many that recur have been written."""
        return len(self._often)

    def missing(self) -> int:
        """How many schedules that nobody replaced have not been fired yet."""
        often = sum(len(it.seen_ms) < _TIMES for it in self._often_wanted().values())
        bad = len(self._bad - self._buried().keys())
        return len(self._wanted() - self._arrived().keys()) + bad + often

    def losses(self) -> list[str]:
        """What was written under each id that was lost, and which of it was fired."""
        fired, lost = self._arrived(), self._wanted() - self._arrived().keys()
        often = {it: len(found.seen_ms) for it, found in self._often_wanted().items()}
        once = [
            f"lost: id {schedule_id.decode()} ({self._lane(schedule_id).form}): "
            + ", ".join(
                f"{'cancel' if version.due_ms is None else f'due {version.due_ms}'} written "
                f"{self._written_ms[schedule_id, version.number]}"
                f"{' fired' if (schedule_id, version.number) in fired else ''}"
                for version in self._versions[schedule_id]
            )
            for schedule_id, _ in sorted(lost)
        ]
        return once + [
            f"lost: id {schedule_id.decode()} ({self._lane(schedule_id).form}): came {count} times"
            for schedule_id, count in sorted(often.items())
            if count < _TIMES
        ]

    def wanted(self) -> Iterator[Wanted]:
        """Every message that has to come, for a service that is told so."""
        for schedule_id, number in sorted(self._wanted()):
            value = b"%s %d" % (schedule_id, number)
            yield Wanted(self._lane(schedule_id).form, schedule_id, value)
        for schedule_id in sorted(self._often_wanted()):
            value = b"%s 0" % schedule_id
            yield Wanted(self._lane(schedule_id).form, schedule_id, value, _TIMES)

    def tally(self) -> dict[str, Tally]:
        """What was fired, lost and fired twice of each format."""
        fired, lost, twice = Counter[str](), Counter[str](), Counter[str]()
        counts = self._arrived()
        for (schedule_id, _), count in counts.items():
            form = self._lane(schedule_id).form
            fired[form] += count
            twice[form] += count > 1
        for schedule_id, _ in self._wanted() - counts.keys():
            lost[self._lane(schedule_id).form] += 1
        ended = set(self._ended)
        for schedule_id, found in self._often_seen().items():
            form, count = self._lane(schedule_id).form, len(found.seen_ms)
            fired[form] += count
            twice[form] += max(count - _TIMES, 0)
            lost[form] += 0 if schedule_id in ended else max(_TIMES - count, 0)
        forms = dict.fromkeys(lane.form for lane in self._lanes)
        return {form: Tally(fired[form], lost[form], twice[form]) for form in forms}

    def verdict(self) -> Verdict:
        """Count, from the target topic alone."""
        counts, buried, early = self._arrived(), self._buried(), 0
        often, tally = self._often_seen(), self.tally().values()
        for it in self._cluster.read(self.target):
            schedule_id, number = _unpacked(it.value or b"")
            if schedule_id in often:
                continue
            due_ms = self._versions[schedule_id][number].due_ms
            early += due_ms is None or it.timestamp_ms < due_ms
        return Verdict(
            schedules=len(self._versions) + len(self._bad) + len(often),
            recurring=len(often),
            records=len(self._written_ms),
            fired=sum(each.fired for each in tally),
            lost=sum(each.lost for each in tally),
            twice=sum(each.twice for each in tally),
            cancelled_but_fired=len(self._replaced_in_time() & counts.keys())
            + sum(self._went_on(schedule_id, often[schedule_id]) for schedule_id in self._ended),
            early=early + sum(it.early() for it in often.values()),
            buried=sum(buried.values()),
            not_buried=len(self._bad - buried.keys()),
            buried_twice=sum(count > 1 for count in buried.values()),
        )

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
            schedule_id = b"%d" % len(self._versions)
            self._versions[schedule_id] = []
            if self._source.random() < 0.4:
                self._open.append(schedule_id)
            self._write(schedule_id, now_ms() + self._ahead_ms())
        else:
            schedule_id = self._open.pop(self._source.randrange(len(self._open)))
            self._write(schedule_id, None if choice > 0.9 else now_ms() + self._ahead_ms())

    def _write_often(self) -> None:
        """What recurs, or the cancel of one that does."""
        number = len(self._often)
        going = b"often-%d" % (number - 1)  # the last one
        if self._source.random() < 0.3 and going in self._often and going not in self._ended:
            self._ended.append(going)
            self._produce(going, None, 1)
            return
        schedule_id = b"often-%d" % number
        lane = self._lane(schedule_id)
        due_ms = lane.due_ms(now_ms() + self._source.randrange(5_000))
        self._often[schedule_id] = due_ms
        body = lane.written.body(due_ms, self.target, schedule_id, b"%s 0" % schedule_id)
        asked = {
            "kms-every": b"%dms" % _EVERY_MS,
            "kms-count": b"%d" % _TIMES,
            "kms-missed": b"all",
        }
        self._produce(schedule_id, Body(body.value, {**body.headers, **asked}), 0)

    def _write_bad(self) -> None:
        """A record that can only end as a dead letter."""
        schedule_id = b"bad-%d" % len(self._bad)
        self._bad.add(schedule_id)
        body = self._lane(schedule_id).written.bad(self.target, self._source)
        self._produce(schedule_id, body, -len(self._bad))

    def _ahead_ms(self) -> int:
        if self._source.random() < 0.1:
            return -1000
        if self._source.random() < 0.3:
            return self._source.randrange(self._margin_ms, 2 * self._margin_ms)
        return self._source.randrange(_NEAR_MS)

    def _write(self, schedule_id: bytes, due_ms: int | None) -> None:
        number, body, lane = len(self._versions[schedule_id]), None, self._lane(schedule_id)
        if due_ms is not None:
            due_ms, packed = lane.due_ms(due_ms), b"%s %d" % (schedule_id, number)
            body = lane.written.body(due_ms, self.target, schedule_id, packed)
        self._versions[schedule_id].append(Version(number, due_ms))
        self._produce(schedule_id, body, number)

    def _lane(self, schedule_id: bytes) -> Lane:
        """An id stays with one topic and one partition."""
        return self._lanes[_number(schedule_id) % len(self._lanes)]

    def _produce(self, schedule_id: bytes, body: Body | None, number: int) -> None:
        lane, written = self._lane(schedule_id), partial(self._on_written, schedule_id, number)
        partition = _number(schedule_id) // len(self._lanes) % lane.partitions
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
        self._written_ms[schedule_id, number] = now_ms()

    def _arrived(self) -> Counter[tuple[bytes, int]]:
        """What was fired of all that does not recur."""
        found = Counter(_unpacked(it.value or b"") for it in self._cluster.read(self.target))
        return Counter({it: count for it, count in found.items() if it[0] not in self._often})

    def _often_seen(self) -> dict[bytes, Often]:
        found = {schedule_id: Often(due_ms, []) for schedule_id, due_ms in self._often.items()}
        for it in self._cluster.read(self.target):
            if it.key in found:
                found[it.key].seen_ms.append(it.timestamp_ms)
        return found

    def _often_wanted(self) -> dict[bytes, Often]:
        """Those that have to come as often as they were asked to."""
        found = self._often_seen()
        return {it: found[it] for it in found.keys() - set(self._ended)}

    def _went_on(self, schedule_id: bytes, often: Often) -> bool:
        """Whether an occurrence was fired although it was cancelled long before."""
        last_ms = often.due_ms + (len(often.seen_ms) - 1) * _EVERY_MS
        return last_ms > self._written_ms[schedule_id, 1] + self._margin_ms

    def _buried(self) -> Counter[bytes]:
        return Counter(it.key or b"" for it in self._cluster.read(self.dead))

    def _wanted(self) -> set[tuple[bytes, int]]:
        return {
            (schedule_id, versions[-1].number)
            for schedule_id, versions in self._versions.items()
            if versions[-1].due_ms is not None
        }

    def _replaced_in_time(self) -> set[tuple[bytes, int]]:
        return {
            (schedule_id, old.number)
            for schedule_id, versions in self._versions.items()
            for old, new in pairwise(versions)
            if old.due_ms is not None
            and self._written_ms[schedule_id, new.number] < old.due_ms - self._margin_ms
        }


def _number(schedule_id: bytes) -> int:
    return int(schedule_id.rpartition(b"-")[2])


def _unpacked(value: bytes) -> tuple[bytes, int]:
    schedule_id, number = value.split()
    return schedule_id, int(number)
