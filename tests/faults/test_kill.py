"""Kill -9 at any instant: lost 0, twice 0."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.broker.cluster import Cluster
from tests.broker.instance import Instance
from tests.faults.ledger import Ledger

MakeInstance = Callable[..., Instance]
FAST = {"KMS_SESSION_TIMEOUT_MS": "3000", "KMS_TRANSACTION_TIMEOUT_MS": "3000"}


class Shape(NamedTuple):
    """How a deployment is laid out."""

    instances: int
    topics: int
    partitions: int
    static: bool


SHAPES = [
    Shape(1, 1, 1, False),
    Shape(1, 1, 12, True),
    Shape(2, 2, 1, True),
    Shape(3, 1, 12, False),
    Shape(2, 2, 12, True),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda it: "-".join(map(str, it)))
def test_kill_while_firing(cluster: Cluster, instance: MakeInstance, shape: Shape) -> None:
    source = random.Random(str(shape))
    topics = [cluster.schedule_topic(shape.partitions) for _ in range(shape.topics)]
    ledger = Ledger(cluster, topics, cluster.topic(3))
    group = f"group-{topics[0]}"
    running = []
    for number in range(shape.instances):
        static = {"KMS_INSTANCE_ID": f"{group}-{number}"} if shape.static else {}
        running.append(instance(topics, group=group, **static, **FAST).start())
    ledger.add(1_000)
    ledger.wait_for(0.5)
    for round_number in range(1, 4):
        ledger.add(5_000, spread_ms=1_500)
        victim = source.choice(running)
        # Somewhere in the middle of what was added: another share each time.
        ledger.wait_for(source.uniform(0.3, 0.95) if round_number > 1 else 0.4)
        victim.kill()
        victim.start()
    ledger.settle(running)


def test_kill_while_loading(cluster: Cluster, instance: MakeInstance) -> None:
    topic = cluster.schedule_topic(2)
    ledger = Ledger(cluster, [topic], cluster.topic())
    ledger.add(20_000)
    kms = instance([topic], **FAST)
    source = random.Random(5)
    for _ in range(4):
        kms.start().wait_for_log("kms runs")
        kms.wait_for_log("Assigned")
        with pytest.raises(AssertionError):  # for a random while it is not there yet
            kms.wait_for_log("this is never said", seconds=source.uniform(0.0, 0.4))
        kms.kill()
    kms.start()
    ledger.settle([kms])
