"""What became of a stream: what its target, its dead-letter topic and its history say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from kms.formats.headers import EPOCH
from tests.broker.cluster import Arrived, Cluster
from tests.faults.stream import EVERY_MS, TIMES, Run, Stream, lane_of, packed_run, unpacked_run


class Tally(NamedTuple):
    """What became of the schedules of one format."""

    fired: int
    lost: int
    twice: int


class Wanted(NamedTuple):
    """The messages that have to come of one record: when each of them is due, in ms."""

    form: str
    key: bytes
    value: bytes
    due_ms: tuple[int, ...]


class Verdict(NamedTuple):
    """What the topics say: what is behind ``buried`` must be 0.

    ``schedules`` are ids, ``records`` what was written under them. ``recurring`` are of the
    records. ``unlike_history`` are messages without a copy, and copies without a message.
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
    unlike_history: int

    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not any(self[5:])

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


class Occurrences(NamedTuple):
    """Of what recurs: when first, and how often each time came, as the history has it."""

    due_ms: int
    seen: Counter[int]  # by number, from 0

    def lost(self, *, ended: bool) -> int:
        """How many did not come; where it was ended, only those before one that came."""
        count = max(self.seen, default=-1) + 1 if ended else TIMES
        return len(set(range(count)) - self.seen.keys())

    def twice(self) -> int:
        """How many came again, or beyond the last."""
        beyond = sum(number >= TIMES for number in self.seen)
        return self.seen.total() - len(self.seen) + beyond


class Reckoning:
    """Counts, from the topics alone, what a read_committed consumer sees now."""

    def __init__(self, cluster: Cluster, stream: Stream) -> None:
        self._stream = stream
        self._target = cluster.read(stream.target)
        self._history = cluster.read(stream.history)
        self._buried = Counter(it.key or b"" for it in cluster.read(stream.dead))
        found = Counter(_run(it) for it in self._target)
        self._arrived = Counter({it: n for it, n in found.items() if it not in stream.often})
        self._often = {run: Occurrences(due_ms, Counter()) for run, due_ms in stream.often.items()}
        for it in self._history:
            if (run := _run(it)) in self._often:
                self._often[run].seen[_number_of(it, self._often[run].due_ms)] += 1

    def missing(self) -> int:
        """How many messages and dead letters that have to come have not come yet."""
        bad = len(self._stream.bad - self._buried.keys())
        return bad + sum(each.lost for each in self.tally().values())

    def losses(self) -> list[str]:
        """What was written under each id that was lost, and which of it was fired."""
        stream = self._stream
        once = [
            f"lost: id {schedule_id.decode()} ({self._form(schedule_id)}): "
            + ", ".join(
                f"{'cancel' if version.due_ms is None else f'due {version.due_ms}'} written "
                f"{stream.written_ms[schedule_id, version.number]}"
                f"{' fired' if (schedule_id, version.number) in self._arrived else ''}"
                for version in stream.versions[schedule_id]
            )
            for schedule_id, _ in sorted(self._wanted() - self._arrived.keys())
        ]
        return once + [
            f"lost: id {run[0].decode()} record {run[1]} ({self._form(run[0])}), due first "
            f"{found.due_ms}, came {sorted(found.seen.elements())}"
            for run, found in sorted(self._often.items())
            if self._lost(run)
        ]

    def wanted(self) -> Iterator[Wanted]:
        """Every message that has to come, for a service that is told so."""
        for run in sorted(self._wanted()):
            due_ms = self._stream.versions[run[0]][run[1]].due_ms or 0
            yield Wanted(self._form(run[0]), run[0], packed_run(run), (due_ms,))
        for run in sorted(self._often.keys() - self._stream.ended):
            times = tuple(self._often[run].due_ms + number * EVERY_MS for number in range(TIMES))
            yield Wanted(self._form(run[0]), run[0], packed_run(run), times)

    def tally(self) -> dict[str, Tally]:
        """What was fired, lost and fired twice of each format."""
        fired, lost, twice = Counter[str](), Counter[str](), Counter[str]()
        for (schedule_id, _), count in self._arrived.items():
            form = self._form(schedule_id)
            fired[form] += count
            twice[form] += count > 1
        for schedule_id, _ in self._wanted() - self._arrived.keys():
            lost[self._form(schedule_id)] += 1
        for run, found in self._often.items():
            form = self._form(run[0])
            fired[form] += found.seen.total()
            twice[form] += found.twice()
            lost[form] += self._lost(run)
        forms = dict.fromkeys(lane.form for lane in self._stream.lanes)
        return {form: Tally(fired[form], lost[form], twice[form]) for form in forms}

    def verdict(self) -> Verdict:
        """All of it in numbers."""
        stream, tally = self._stream, self.tally().values()
        return Verdict(
            schedules=len({schedule_id for schedule_id, _ in stream.written_ms}),
            recurring=len(self._often),
            records=len(stream.written_ms),
            fired=sum(each.fired for each in tally),
            lost=sum(each.lost for each in tally),
            twice=sum(each.twice for each in tally),
            cancelled_but_fired=len(self._replaced_in_time() & self._arrived.keys())
            + sum(self._went_on(run) for run in stream.ended),
            early=sum(self._is_early(it) for it in self._target) + self._early_copies(),
            buried=self._buried.total(),
            not_buried=len(stream.bad - self._buried.keys()),
            buried_twice=sum(count > 1 for count in self._buried.values()),
            unlike_history=self._unlike_history(),
        )

    def _form(self, schedule_id: bytes) -> str:
        return lane_of(self._stream.lanes, schedule_id).form

    def _lost(self, run: Run) -> int:
        return self._often[run].lost(ended=run in self._stream.ended)

    def _wanted(self) -> set[Run]:
        """The records that nobody replaced, of all that does not recur."""
        return {
            (schedule_id, versions[-1].number)
            for schedule_id, versions in self._stream.versions.items()
            if versions[-1].due_ms is not None
        }

    def _replaced_in_time(self) -> set[Run]:
        stream = self._stream
        return {
            (schedule_id, old.number)
            for schedule_id, versions in stream.versions.items()
            for old, new in pairwise(versions)
            if old.due_ms is not None
            and stream.written_ms[schedule_id, new.number] < old.due_ms - stream.margin_ms
        }

    def _went_on(self, run: Run) -> bool:
        """Whether an occurrence was fired although it was replaced long before."""
        found, (schedule_id, number) = self._often[run], run
        last_ms = found.due_ms + max(found.seen, default=-1) * EVERY_MS
        return last_ms > self._stream.written_ms[schedule_id, number + 1] + self._stream.margin_ms

    def _is_early(self, message: Arrived) -> bool:
        schedule_id, number = _run(message)
        if (schedule_id, number) in self._often:
            return False  # its copy tells which one it is
        due_ms = self._stream.versions[schedule_id][number].due_ms
        return due_ms is None or message.timestamp_ms < due_ms

    def _early_copies(self) -> int:
        return sum(
            it.timestamp_ms < found.due_ms + _number_of(it, found.due_ms) * EVERY_MS
            for it in self._history
            if (found := self._often.get(_run(it))) is not None
        )

    def _unlike_history(self) -> int:
        messages, copies = (
            Counter((it.key, it.value) for it in found) for found in (self._target, self._history)
        )
        return (messages - copies).total() + (copies - messages).total()


def _run(message: Arrived) -> Run:
    return unpacked_run(message.value or b"")


def _number_of(copy: Arrived, due_ms: int) -> int:
    return (int(dict(copy.headers)[EPOCH] or b"") * 1000 - due_ms) // EVERY_MS
