"""An instance stopped in the middle of a transaction fires nothing more of what it lost."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broker.cluster import Cluster, wait_for
from tests.broker.instance import Instance
from tests.faults.ledger import Ledger

MakeInstance = Callable[..., Instance]
HALTING = Path(__file__).with_name("halting_kms.py")
FAST = {"KMS_SESSION_TIMEOUT_MS": "3000", "KMS_TRANSACTION_TIMEOUT_MS": "4000"}


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("point", ["begin", "produced", "offsets"])
def test_a_zombie_fires_nothing(
    cluster: Cluster, instance: MakeInstance, point: str, static: bool
) -> None:
    topic = cluster.schedule_topic(2)
    ledger = Ledger(cluster, [topic], cluster.topic())
    group = f"group-{topic}"
    zombie = instance(
        [topic],
        group=group,
        program=HALTING,
        HALT_AT=point,
        HALT_HOW="stop",
        **FAST,
        **({"KMS_INSTANCE_ID": f"{group}-zombie"} if static else {}),
    )
    zombie.start().caught_up(2)
    ledger.add(500)
    wait_for("the zombie to halt", lambda: _state(zombie) == "T")
    assert ledger.seen() == 0
    heir = instance([topic], group=group, **FAST).start()
    # Session timeout, rebalance, and what is left of the transaction's timeout.
    ledger.wait_for(1.0, seconds=15)
    zombie.signal(signal.SIGCONT)
    ledger.add(500)
    ledger.wait_for(1.0)
    wait_for(
        "the zombie to notice",
        lambda: "was not fired" in zombie.log or "Beginning anew" in zombie.log,
    )
    assert zombie.stop() == 0
    ledger.settle([heir])


@pytest.mark.parametrize("point", ["producing", "produced", "offsets"])
def test_alone_it_goes_on_after_its_transaction_was_ended(
    cluster: Cluster, instance: MakeInstance, point: str
) -> None:
    """By the broker, at the timeout; whether a commit came in time it finds out by itself."""
    topic = cluster.schedule_topic()
    ledger = Ledger(cluster, [topic], cluster.topic())
    kms = instance([topic], program=HALTING, HALT_AT=point, HALT_HOW="stop", **FAST)
    kms.start().caught_up()
    ledger.add(500)
    wait_for("it to halt", lambda: _state(kms) == "T")
    before = cluster.end_offset(ledger.target)
    wait_for("its marker", lambda: cluster.end_offset(ledger.target) > before)
    kms.signal(signal.SIGCONT)
    ledger.wait_for(1.0)
    assert ("Beginning anew" in kms.log) is (point == "offsets"), kms.log
    ledger.add(100)
    ledger.settle([kms])


def test_a_second_instance_with_the_same_identity_fences_the_first(
    cluster: Cluster, instance: MakeInstance
) -> None:
    topic = cluster.schedule_topic()
    ledger = Ledger(cluster, [topic], cluster.topic())
    first = instance([topic], KMS_INSTANCE_ID=f"{topic}-same", **FAST).start().caught_up()
    ledger.add(10)
    ledger.wait_for(1.0)
    second = instance([topic], group=first.group, KMS_INSTANCE_ID=f"{topic}-same", **FAST).start()
    assert first.ended() == 6, first.log
    assert "KMS_INSTANCE_ID" in first.log
    assert "Traceback" not in first.log
    ledger.add(10)
    ledger.settle([second])


def _state(kms: Instance) -> str:
    stat = Path(f"/proc/{kms.process.pid}/stat").read_text()
    return stat.rsplit(")", 1)[1].split()[0]
