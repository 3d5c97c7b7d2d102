"""A service of systemd's, from its start to its end: what it says, and when it says nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import confluent_kafka as ck

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, wait_for
from tests.broker.instance import Instance
from tests.faults.test_hanging import LIVE_MS
from tests.faults.test_zombies import HALTING
from tests.notify_socket import NotifySocket

MakeInstance = Callable[..., Instance]
WATCHDOG_SECONDS = 1.0


def test_ready_once_caught_up_watched_while_it_turns_and_stopping(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    cluster.write(topic, b"other", b"no schedule")
    cluster.flush()
    user = _open_transaction(cluster, topic)
    hold = tmp_path / "hold"
    hold.touch()
    with NotifySocket() as systemd:
        kms = instance(
            [topic],
            program=HALTING,
            LIVE_MS=LIVE_MS,
            HALT_AT="produced",
            HALT_HOW="hold",
            HALT_FILE=str(hold),
            NOTIFY_SOCKET=systemd.name,
            WATCHDOG_USEC=str(int(WATCHDOG_SECONDS * 1_000_000)),
        ).start()
        # What another one has in a transaction on the schedule topic holds the catch-up.
        wait_for("loading", lambda: any("Loading: " in it for it in systemd.statuses()))
        began = time.monotonic()
        wait_for("the watchdog's food", lambda: systemd.lines(began).count("WATCHDOG=1") > 2)
        assert "READY=1" not in systemd.lines()
        user.commit_transaction(30)
        wait_for("ready", lambda: "READY=1" in systemd.lines())
        kms.caught_up()
        wait_for("its status", lambda: systemd.statuses()[-1].startswith("Firing: 1 partitions"))

        cluster.schedule(topic, b"id", Schedule(0, target, b"", b"v"))
        cluster.flush()
        kms.wait_for_log("kms halts")
        why = "The producer thread has not turned for 7 s"
        wait_for("the hang", lambda: systemd.statuses()[-1].startswith(why))
        hung = time.monotonic()
        wait_for("it to be hungry", lambda: time.monotonic() - hung > 2 * WATCHDOG_SECONDS)
        assert "WATCHDOG=1" not in systemd.lines(hung)
        assert kms.metrics()["kms_overdue_seconds"] > 7  # since 1970
        hold.unlink()
        wait_for("food again", lambda: "WATCHDOG=1" in systemd.lines(hung))
        cluster.arrived(target, 1)
        wait_for("nothing overdue", lambda: kms.metrics()["kms_overdue_seconds"] == 0)

        assert kms.stop() == 0
    lines = systemd.lines()
    assert lines.count("READY=1") == lines.count("STOPPING=1") == 1
    assert "WATCHDOG=1" not in lines[lines.index("STOPPING=1") :]


def _open_transaction(cluster: Cluster, topic: str) -> ck.Producer:
    name = f"user-{uuid.uuid4().hex[:8]}"
    user = ck.Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": name})
    user.init_transactions(30)
    user.begin_transaction()
    user.produce(topic, b"never", b"later")
    user.flush(30)
    return user
