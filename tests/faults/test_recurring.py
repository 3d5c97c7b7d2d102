"""What recurs, over deaths, takeovers and users that come in between: each occurrence once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kms.formats import AVRO
from kms.schedule import Schedule, fired_of
from tests.broker.cluster import Arrived, Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
FAST = {"KMS_SESSION_TIMEOUT_MS": "3000", "KMS_TRANSACTION_TIMEOUT_MS": "3000"}
HALTING = Path(__file__).with_name("halting_kms.py")
IDS = [b"%d" % number for number in range(60)]
TIMES = 15


def test_kills_and_rebalances_while_they_recur(cluster: Cluster, instance: MakeInstance) -> None:
    topic, target = cluster.schedule_topic(4), cluster.topic(2)
    start_ms = now_ms() + 3_000
    headers = [("kms-every", b"1s"), ("kms-count", b"%d" % TIMES), ("kms-missed", b"all")]
    for number, schedule_id in enumerate(IDS):
        value = AVRO.encode_value(Schedule(start_ms + 10 * number, target, b"k", schedule_id))
        cluster.write(topic, schedule_id, value, headers=headers)
    cluster.flush()
    first = instance([topic], **FAST).start().caught_up(4)
    wanted = len(IDS) * TIMES

    def wait_for_share(share: float) -> None:
        count = int(share * wanted)
        wait_for(f"{count} messages", lambda: len(cluster.read(target)) >= count)

    wait_for_share(0.1)
    first.kill()
    first.start()
    second = instance([topic], group=first.group, **FAST).start()
    second.caught_up(2)
    wait_for_share(0.4)
    second.kill()
    second.cache.unlink()
    second.start()
    wait_for_share(0.6)
    assert first.stop() == 0
    wait_for("the ends", lambda: _ended(cluster, topic) == len(IDS))
    assert second.stop() == 0
    arrived = cluster.read(target)
    assert Counter(it.value for it in arrived) == dict.fromkeys(IDS, TIMES)
    records, topic_id = cluster.read(topic), cluster.topic_id(topic)
    for schedule_id in IDS:
        _check(topic_id, [it for it in records if it.key == schedule_id])
    starts = {schedule_id: start_ms + 10 * number for number, schedule_id in enumerate(IDS)}
    for schedule_id, due_ms in starts.items():
        seen = sorted(it.timestamp_ms for it in arrived if it.value == schedule_id)
        assert all(at >= due_ms + 1_000 * number for number, at in enumerate(seen))


def _ended(cluster: Cluster, topic: str) -> int:
    return sum(it.value is None for it in cluster.read(topic))


def _check(topic_id: str, records: list[Arrived]) -> None:
    """Each record follows the one before; every occurrence is there, once."""
    *again, tombstone = records[1:]
    due_ms = AVRO.decode_value(records[0].value or b"").due_ms
    assert [dict(it.headers)["kms-occurrence"] for it in again] == [
        b"%d" % number for number in range(1, TIMES)
    ]
    assert [dict(it.headers)["kms-next"] for it in again] == [
        b"%d" % (due_ms + 1_000 * number) for number in range(1, TIMES)
    ]
    follows = [fired_of(it.headers) for it in [*again, tombstone]]
    assert follows == [(it.offset, topic_id) for it in records[:-1]]


@pytest.mark.parametrize("point", ["begin", "offsets"])
@pytest.mark.parametrize("update", [True, False], ids=["update", "cancel"])
def test_a_users_record_is_not_undone_by_the_next_one(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path, point: str, update: bool
) -> None:
    """It comes while the firing's transaction is open: before the next record, or after it."""
    topic, target = cluster.schedule_topic(), cluster.topic()
    hold = tmp_path / "hold"
    hold.touch()
    value = AVRO.encode_value(Schedule(now_ms(), target, b"k", b"old"))
    cluster.write(topic, b"id", value, headers=[("kms-every", b"1s")])
    cluster.flush()
    kms = instance(
        [topic], program=HALTING, HALT_AT=point, HALT_HOW="hold", HALT_FILE=str(hold)
    ).start()
    wait_for("the transaction", lambda: "kms halts" in kms.log)
    new = AVRO.encode_value(Schedule(now_ms(), target, b"k", b"new")) if update else None
    cluster.write(topic, b"id", new)
    cluster.flush()
    hold.unlink()
    _end(cluster, kms, topic, target, 1)
    kms.cache.unlink()
    kms.start()
    _end(cluster, kms, topic, target, 2)
    fired = [it for it in _values(cluster, target) if it != b"mark"]
    # At "begin" the cancel or update lies before what would be the next record: all is undone.
    expected = [b"old"] if point == "offsets" else []
    assert fired == expected + ([b"new"] if update else [])


def _values(cluster: Cluster, target: str) -> list[bytes | None]:
    return [it.value for it in cluster.read(target)]


def _end(cluster: Cluster, kms: Instance, topic: str, target: str, marks: int) -> None:
    """Let it run until it would have fired twice more."""
    until_ms = now_ms() + 2_000
    wait_for("two more occurrences", lambda: now_ms() > until_ms)
    cluster.schedule(topic, b"mark", Schedule(now_ms(), target, b"", b"mark"))
    cluster.flush()
    wait_for("the mark", lambda: _values(cluster, target).count(b"mark") == marks)
    assert kms.stop() == 0
