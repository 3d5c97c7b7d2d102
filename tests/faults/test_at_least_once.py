"""at-least-once: lost 0 after a kill; twice only what was in flight."""

from __future__ import annotations

from collections.abc import Callable

from kms.due import BATCH
from tests.broker.cluster import Cluster
from tests.broker.instance import Instance
from tests.faults.ledger import Ledger

MakeInstance = Callable[..., Instance]


def test_kills_lose_nothing(cluster: Cluster, instance: MakeInstance) -> None:
    topic = cluster.schedule_topic(3)
    ledger = Ledger(cluster, [topic], cluster.topic())
    kms = instance([topic], KMS_DELIVERY="at-least-once", KMS_SESSION_TIMEOUT_MS="3000").start()
    kills = 4
    for number in range(kills):
        ledger.add(4_000, spread_ms=1_000)
        ledger.wait_for(0.3 + 0.15 * number)
        kms.kill()
        kms.start()
    ledger.wait_for(1.0)
    kms.wait_for_log("kms runs")
    assert kms.stop() == 0
    ledger.check(twice=kills * BATCH)


def test_without_a_fault_nothing_is_fired_twice(cluster: Cluster, instance: MakeInstance) -> None:
    topic = cluster.schedule_topic(3)
    ledger = Ledger(cluster, [topic], cluster.topic())
    kms = instance([topic], KMS_DELIVERY="at-least-once").start()
    ledger.add(5_000, spread_ms=1_000)
    ledger.wait_for(1.0)
    assert kms.stop() == 0
    kms.start().caught_up(3)
    ledger.settle([kms])
