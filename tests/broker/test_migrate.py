"""From sky-uk's service to kms and back: nothing is lost, nothing fires twice. docs/migrate.md."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable

from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import ROOT, Instance
from tests.broker.old_service import Fired, OldSchedule, OldService, messages

MakeInstance = Callable[..., Instance]
PARTITIONS = 3
HOUR_MS = 3_600_000


def test_the_records_are_those_of_its_codec() -> None:
    """By hand, from the Avro specification: zigzag numbers, lengths before texts."""
    older = OldSchedule(1, "t", b"k", None, None)
    newer = OldSchedule(64, "t", b"", b"v", {"h": b"x"})
    assert older.encoded() == bytes.fromhex("02 02 74 02 6b 00")
    assert newer.encoded() == bytes.fromhex("8001 02 74 00 02 02 76 02 02 68 02 78 00")


def test_there_and_back_again(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(PARTITIONS), cluster.topic(2)
    old, start_ms = OldService(cluster, topic), now_ms()
    later = {
        b"later %d" % number: _schedule(target, b"later", start_ms + HOUR_MS) for number in range(9)
    }
    expected = _left_by_the_old(old, target, start_ms + 4_000, later)
    kms = instance([topic])
    old.commit(kms.group, PARTITIONS)

    kms.start().caught_up(PARTITIONS)
    _arrives(cluster, target, expected)
    assert kms.metrics()["kms_schedules_failed"] == 0
    assert kms.stop() == 0

    pending = {schedule_id: it.encoded() for schedule_id, it in later.items()}
    # Behind kms's transactions no version finds the end; had it done so, 1 would fire all again.
    assert old.loads(PARTITIONS, 0) is None
    _hand_back(cluster, topic)
    assert old.loads(PARTITIONS, 0) == old.loads(PARTITIONS, 1) == pending

    # The old one fires some; kms, back once more, with its cache, fires what became due meanwhile.
    now = _schedule(target, b"now", start_ms)
    for number in range(3):
        old.fire(b"later %d" % number, later[b"later %d" % number])
        old.schedule(b"later %d" % (number + 3), now)
        expected.update([later[b"later 0"].message(), now.message()])
    old.flush()
    kms.start().caught_up(PARTITIONS)
    _arrives(cluster, target, expected)
    wait_for("three to be left", lambda: _pending(kms) == 3)
    assert kms.stop() == 0
    assert messages(cluster.read(target)) == expected


def _left_by_the_old(
    old: OldService, target: str, soon_ms: int, later: dict[bytes, OldSchedule]
) -> Counter[Fired]:
    """A topic as it leaves it, and what has to be on the target topic in the end."""
    expected: Counter[Fired] = Counter()
    wanted: dict[bytes, OldSchedule] = {}
    for number in range(60):
        schedule_id = b"id %d" % number
        first = _schedule(target, b"first %d" % number, soon_ms, headers=number % 2 == 0)
        old.schedule(schedule_id, first)
        wanted[schedule_id] = first
        match number % 6:
            case 0:  # fired, by either of its versions
                old.fire(schedule_id, first, version=number // 6 % 2)
                expected[first.message()] += 1
                del wanted[schedule_id]
            case 1:
                old.cancel(schedule_id)
                del wanted[schedule_id]
            case 2:  # updated
                wanted[schedule_id] = _schedule(target, b"second %d" % number, soon_ms + 500)
                old.schedule(schedule_id, wanted[schedule_id])
            case 3:  # fired, and the id is used again
                old.fire(schedule_id, first)
                expected[first.message()] += 1
                wanted[schedule_id] = _schedule(target, b"again %d" % number, soon_ms)
                old.schedule(schedule_id, wanted[schedule_id])
            case 4:  # became due while nobody was running
                wanted[schedule_id] = _schedule(target, b"late %d" % number, 0)
                old.schedule(schedule_id, wanted[schedule_id])
    for schedule_id, it in later.items():
        old.schedule(schedule_id, it)
    deletes = OldSchedule(soon_ms, target, b"a tombstone", None, {})
    old.schedule(b"deletes", deletes)
    old.flush()
    expected.update(it.message() for it in [*wanted.values(), deletes])
    return expected


def _schedule(target: str, value: bytes, due_ms: int, *, headers: bool = True) -> OldSchedule:
    given = {"trace": b"\x00\xff", "kind": value} if headers else None
    return OldSchedule(due_ms, target, b"key of " + value, value, given)


def _pending(kms: Instance) -> float:
    found = kms.metrics()
    return sum(found[name] for name in found if name.startswith("kms_schedules_pending{"))


def _arrives(cluster: Cluster, target: str, expected: Counter[Fired]) -> None:
    """All of it, and no more than it."""

    def look() -> bool:
        found = messages(cluster.read(target))
        assert not found - expected, "twice, or not wanted"
        return found == expected

    wait_for("what is due", look)


def _hand_back(cluster: Cluster, topic: str) -> None:
    environment = {**os.environ, "KAFKA_BROKERS": cluster.bootstrap, "SCHEDULE_TOPICS": topic}
    done = subprocess.run(
        [ROOT / "scripts/hand-back"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"and {PARTITIONS} partitions have a plain null now." in done.stdout
