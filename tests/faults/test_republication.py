"""A user's record against a copy: an update that overtook a firing is never written over a newer.

The overtaken update is made by hand, as another instance would have left it: old version, new
version, then the tombstone of the old one's firing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka as ck
import pytest

from kms.formats import AVRO
from kms.schedule import Schedule, fired_headers
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
HALTING = Path(__file__).with_name("halting_kms.py")
AHEAD_MS = 5_000


class Copying:
    """kms is held in the middle of writing the update once more, until ``go_on``."""

    def __init__(self, cluster: Cluster, instance: MakeInstance, folder: Path, point: str) -> None:
        self.topic, self.target = cluster.schedule_topic(), cluster.topic()
        self.due_ms = now_ms() + AHEAD_MS
        cluster.schedule(self.topic, b"id", Schedule(0, self.target, b"k", b"old"))
        cluster.schedule(self.topic, b"id", Schedule(self.due_ms, self.target, b"k", b"new"))
        headers = fired_headers(0, cluster.topic_id(self.topic))
        cluster.write(self.topic, b"id", None, headers=headers)
        cluster.flush()
        self._hold = folder / "hold"
        self._hold.touch()
        self.kms = instance(
            [self.topic],
            program=HALTING,
            HALT_AT=point,
            HALT_HOW="hold",
            HALT_FILE=str(self._hold),
        ).start()
        wait_for("the copy's transaction", lambda: "kms halts" in self.kms.log)

    def go_on(self) -> None:
        """Let kms end what it began."""
        self._hold.unlink()

    def end(self, cluster: Cluster, instance: MakeInstance) -> list[bytes | None]:
        """What was fired in the end, with a first start from what lies on the topic."""
        assert now_ms() < self.due_ms, "too slow to be a test of a copy"
        wait_for("the due time", lambda: now_ms() > self.due_ms)
        _mark(cluster, self.topic, self.target, b"end")
        assert self.kms.stop() == 0
        instance([self.topic], group=self.kms.group).start()
        _mark(cluster, self.topic, self.target, b"end again")
        values = [it.value for it in cluster.read(self.target)]
        return [value for value in values if not (value or b"").startswith(b"end")]


@pytest.mark.parametrize("point", ["begin", "offsets"])
def test_a_cancel_is_not_undone_by_a_copy(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path, point: str
) -> None:
    copying = Copying(cluster, instance, tmp_path, point)
    cluster.write(copying.topic, b"id", None)
    cluster.flush()
    copying.go_on()
    assert copying.end(cluster, instance) == []


@pytest.mark.parametrize("point", ["begin", "offsets"])
def test_an_update_is_not_undone_by_a_copy(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path, point: str
) -> None:
    copying = Copying(cluster, instance, tmp_path, point)
    cluster.schedule(copying.topic, b"id", Schedule(0, copying.target, b"k", b"newer"))
    cluster.flush()
    copying.go_on()
    assert copying.end(cluster, instance) == [b"newer"]


@pytest.mark.parametrize("ends", ["commit", "abort"])
def test_a_copy_waits_for_what_may_yet_be_committed(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path, ends: str
) -> None:
    copying = Copying(cluster, instance, tmp_path, "begin")
    update = AVRO.encode_value(Schedule(0, copying.target, b"k", b"newer"))
    with _transaction(cluster) as user:
        user.produce(copying.topic, update, b"id")
        user.flush()
        copying.go_on()
        copying.kms.wait_for_log("'id' at")
        if ends == "commit":
            user.commit_transaction()
        else:
            user.abort_transaction()
    assert copying.end(cluster, instance) == [b"newer" if ends == "commit" else b"new"]


@contextmanager
def _transaction(cluster: Cluster) -> Iterator[ck.Producer]:
    name = f"user-{now_ms()}"
    user = ck.Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": name})
    user.init_transactions()
    user.begin_transaction()
    yield user


def _mark(cluster: Cluster, topic: str, target: str, value: bytes) -> None:
    """Wait until everything that was due before now has been fired."""
    cluster.schedule(topic, b"mark", Schedule(now_ms(), target, b"", value))
    cluster.flush()
    wait_for("the mark", lambda: any(it.value == value for it in cluster.read(target)))
