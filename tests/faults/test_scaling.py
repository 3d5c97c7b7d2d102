"""Instances join, leave and die while schedules fire: each fires once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.broker.cluster import Cluster, wait_for
from tests.broker.instance import Instance
from tests.faults.ledger import Ledger

MakeInstance = Callable[..., Instance]
FAST = {"KMS_SESSION_TIMEOUT_MS": "3000", "KMS_TRANSACTION_TIMEOUT_MS": "3000"}


def test_joins_leaves_and_deaths_while_firing(cluster: Cluster, instance: MakeInstance) -> None:
    topic = cluster.schedule_topic(6)
    ledger = Ledger(cluster, [topic], cluster.topic(2))
    first = instance([topic], **FAST).start().caught_up(6)
    ledger.add(12_000, spread_ms=12_000)
    second = instance([topic], group=first.group, **FAST).start()
    second.caught_up(3)
    third = instance([topic], group=first.group, **FAST).start()
    third.caught_up(2)
    ledger.wait_for(0.4)
    second.kill()
    ledger.wait_for(0.6)
    assert first.stop() == 0
    ledger.wait_for(0.8)
    second.start()
    ledger.settle([second, third])


def test_a_joining_instance_does_not_stop_the_others(
    cluster: Cluster, instance: MakeInstance
) -> None:
    """Cooperative: the partitions that stay are not given up for a moment."""
    topic = cluster.schedule_topic(4)
    ledger = Ledger(cluster, [topic], cluster.topic())
    first = instance([topic], **FAST).start().caught_up(4)
    second = instance([topic], group=first.group, **FAST).start().caught_up(2)
    ledger.add(100)
    ledger.wait_for(1.0)
    assert first.log.count("Caught up:") == 4
    assert first.metrics()["kms_assigned_partitions"] == 2
    assert second.metrics()["kms_assigned_partitions"] == 2
    ledger.settle([first, second])


def test_a_quick_restart_of_a_static_member_moves_no_partition(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic = cluster.schedule_topic(4)
    ledger = Ledger(cluster, [topic], cluster.topic())
    slow = {"KMS_SESSION_TIMEOUT_MS": "20000"}
    group = f"group-{topic}"
    first, second = (
        instance([topic], group=group, KMS_INSTANCE_ID=f"{group}-{number}", **slow).start()
        for number in range(2)
    )
    wait_for("a fair share", lambda: _assigned(first) == _assigned(second) == 2)
    said = second.log
    assert first.stop() == 0
    first.start().caught_up(2)
    ledger.add(100)
    ledger.wait_for(1.0)
    assert second.log == said, "the other instance noticed"
    ledger.settle([first, second])


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
def test_a_rolling_restart_under_load(
    cluster: Cluster, instance: MakeInstance, static: bool
) -> None:
    """As an update does it: one is ended and started again, then the other."""
    topic = cluster.schedule_topic(4)
    ledger = Ledger(cluster, [topic], cluster.topic(2))
    group = f"group-{topic}"
    names = [{"KMS_INSTANCE_ID": f"{group}-{n}"} if static else {} for n in range(2)]
    running = [instance([topic], group=group, **FAST, **name).start() for name in names]
    wait_for("a fair share", lambda: all(_assigned(each) == 2 for each in running))
    for number, each in enumerate(running, 1):
        ledger.add(2_000, spread_ms=6_000)
        ledger.wait_for(1 - 0.8 / number)
        assert each.stop() == 0, each.log
        each.start().caught_up(2)
    ledger.settle(running)


def _assigned(kms: Instance) -> float:
    return kms.metrics()["kms_assigned_partitions"] if "kms runs" in kms.log else 0
