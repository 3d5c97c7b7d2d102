"""An update against its older version's firing: fired once each, whatever compaction does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
HALTING = Path(__file__).with_name("halting_kms.py")


class Window:
    """The old version is being fired; nothing of it is committed until ``close``."""

    def __init__(self, cluster: Cluster, instance: MakeInstance, folder: Path, point: str) -> None:
        self.cluster = cluster
        self._point = point
        self.topic, self.target = cluster.compacted_topic(), cluster.topic()
        self._hold = folder / "hold"
        self._hold.touch()
        self.kms = instance(
            [self.topic],
            program=HALTING,
            HALT_AT=point,
            HALT_HOW="hold",
            HALT_FILE=str(self._hold),
        ).start()
        self.kms.caught_up()
        cluster.schedule(self.topic, b"id", Schedule(0, self.target, b"k", b"old"))
        cluster.flush()
        self._received(1)
        # The scheduler hands over what is due at once; the transaction is held at its point.
        wait_for("the transaction to begin", lambda: "kms halts" in self.kms.log)

    def write(self, schedule: Schedule | None) -> None:
        """The user's record, written while the window is open.

        kms folds it now if nothing of the transaction is in the log yet; else it lies behind
        the last stable offset until that ends.
        """
        if schedule is None:
            self.cluster.write(self.topic, b"id", None)
        else:
            self.cluster.schedule(self.topic, b"id", schedule)
        self.cluster.flush()
        if self._point == "begin":
            self._received(2)

    def close(self) -> None:
        """Let the firing be committed."""
        self._hold.unlink()

    def _received(self, count: int) -> None:
        name = f'kms_records_received_total{{schedule_topic="{self.topic}"}}'
        wait_for(f"{count} folded", lambda: self.kms.metrics().get(name, 0) >= count)


@pytest.mark.parametrize("point", ["begin", "produced", "offsets"])
def test_an_update_in_the_window_survives_compaction(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path, point: str
) -> None:
    window = Window(cluster, instance, tmp_path, point)
    due_ms = now_ms() + 12_000
    window.write(Schedule(due_ms, window.target, b"k", b"new"))
    window.close()
    cluster.arrived(window.target, 1)
    _compact(cluster, window.topic)
    assert window.kms.stop() == 0
    for path in window.kms.cache.parent.glob(f"{window.kms.cache.name}*"):
        path.unlink()  # what compaction left is all there is
    again = instance([window.topic], group=window.kms.group).start().caught_up()
    assert now_ms() < due_ms, "too slow to be a test of a pending update"
    arrived = cluster.arrived(window.target, 2)
    assert [it.value for it in arrived] == [b"old", b"new"]
    assert arrived[1].timestamp_ms >= due_ms
    assert again.stop() == 0
    assert len(cluster.read(window.target)) == 2


@pytest.mark.parametrize("point", ["begin", "produced", "offsets"])
def test_a_cancel_in_the_window_means_fired_or_cancelled(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path, point: str
) -> None:
    window = Window(cluster, instance, tmp_path, point)
    window.write(None)
    window.close()
    cluster.schedule(window.topic, b"end", Schedule(now_ms(), window.target, b"", b"end"))
    cluster.flush()
    wait_for("the end", lambda: any(it.value == b"end" for it in cluster.read(window.target)))
    fired = sum(it.value == b"old" for it in cluster.read(window.target))
    records = [it for it in cluster.read(window.topic) if it.key == b"id"]
    tombstones = [it for it in records if dict(it.headers).get("kms-fired-offset")]
    assert fired <= 1
    assert bool(tombstones) <= bool(fired), "a tombstone without its firing"
    assert window.kms.stop() == 0


def _compact(cluster: Cluster, topic: str) -> None:
    """Write until the cleaner has come by and the old version is gone."""

    def old_is_gone() -> bool:
        cluster.write(topic, b"filler", None)
        cluster.flush()
        return all(it.offset > 0 for it in cluster.read(topic) if it.key == b"id")

    wait_for("compaction", old_is_gone, 10)
