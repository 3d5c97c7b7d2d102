"""A thread that hangs is told by /health/live, while everything else goes on answering."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, wait_for
from tests.broker.instance import Instance
from tests.broker.test_web import get
from tests.faults.test_zombies import HALTING

MakeInstance = Callable[..., Instance]
LIVE_MS = "7000"  # the scheduler may sleep for five seconds


def test_a_producer_that_hangs_is_not_live_until_it_turns_again(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path
) -> None:
    topic, target = cluster.schedule_topic(), cluster.topic()
    hold = tmp_path / "hold"
    hold.touch()
    halts = {"HALT_AT": "produced", "HALT_HOW": "hold", "HALT_FILE": str(hold)}
    kms = instance([topic], program=HALTING, LIVE_MS=LIVE_MS, **halts).start().caught_up()
    wait_for("ready", lambda: get(kms, "/health/ready").status == 200)
    cluster.schedule(topic, b"id", Schedule(0, target, b"", b"v"))
    cluster.flush()
    kms.wait_for_log("kms halts")
    hung = wait_for(
        "the silence to be told",
        lambda: found if (found := get(kms, "/health/live")).status == 503 else None,
    )
    assert hung.json["live"] is False
    assert hung.json["why"].startswith("The producer thread has not turned for 7 s")
    assert get(kms, "/health/ready") == (503, {"ready": False, "why": hung.json["why"]})
    assert get(kms, "/info").json["live"] is False
    hold.unlink()
    wait_for("it to turn", lambda: get(kms, "/health/live").status == 200)
    assert [it.value for it in cluster.arrived(target, 1)] == [b"v"]
    assert kms.stop() == 0
