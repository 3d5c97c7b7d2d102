"""The broker goes away and comes back: kms carries on by itself and says so in few lines."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from kms.http_port import CONNECTIONS, REQUEST_SECONDS
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance
from tests.broker.test_web_writing import LATER, TOKEN, post
from tests.faults.conftest import Fragile
from tests.faults.ledger import Ledger
from tests.web.site import asked

MakeInstance = Callable[..., Instance]
FAST = {"KMS_SESSION_TIMEOUT_MS": "6000", "KMS_TRANSACTION_TIMEOUT_MS": "6000"}
MANY = CONNECTIONS + 16
FEW_LINES = 25  # of all that is logged over several outages


@pytest.fixture
def behind(fragile: Fragile) -> Cluster:
    """The fragile broker, reached without the proxy."""
    return Cluster(fragile.kafka.bootstrap)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_while_firing(
    fragile: Fragile, behind: Cluster, fragile_instance: MakeInstance, how: str
) -> None:
    topic = behind.schedule_topic(3)
    ledger = Ledger(behind, [topic], behind.topic())
    kms = fragile_instance([topic], **FAST).start().caught_up(3)
    ledger.add(6_000, spread_ms=4_000)
    ledger.wait_for(0.2)
    getattr(fragile.kafka, how)()
    kms.wait_for_log("trying again")
    fragile.kafka.start()
    ledger.wait_for(1.0)
    assert len(kms.log.splitlines()) < FEW_LINES, kms.log
    ledger.settle([kms])


def test_while_loading(fragile: Fragile, behind: Cluster, fragile_instance: MakeInstance) -> None:
    topic = behind.schedule_topic()
    ledger = Ledger(behind, [topic], behind.topic())
    ledger.add(50_000, due_ms=now_ms() - 60_000)
    kms = fragile_instance([topic], **FAST).start()
    kms.wait_for_log("Assigned")
    fragile.kafka.restart()
    ledger.settle([kms])


def test_while_starting(fragile: Fragile, behind: Cluster, fragile_instance: MakeInstance) -> None:
    topic = behind.schedule_topic()
    ledger = Ledger(behind, [topic], behind.topic())
    ledger.add(100)
    fragile.kafka.stop()
    kms = fragile_instance([topic], **FAST).start()
    kms.wait_for_log("trying again")
    fragile.kafka.start()
    ledger.wait_for(1.0)
    assert len(kms.log.splitlines()) < FEW_LINES, kms.log
    ledger.settle([kms])


def test_a_connection_cut_in_mid_flight(
    fragile: Fragile, behind: Cluster, fragile_instance: MakeInstance
) -> None:
    topic = behind.schedule_topic(2)
    ledger = Ledger(behind, [topic], behind.topic())
    kms = fragile_instance([topic], **FAST).start().caught_up(2)
    ledger.add(10_000, spread_ms=6_000)
    for share in (0.1, 0.2, 0.3, 0.4, 0.5):
        ledger.wait_for(share)
        fragile.proxy.cut()
    fragile.proxy.refuse()
    kms.wait_for_log("trying again")
    fragile.proxy.allow()
    ledger.wait_for(1.0)
    assert len(kms.log.splitlines()) < FEW_LINES, kms.log
    ledger.settle([kms])


def test_it_can_be_stopped_while_the_broker_is_away(
    fragile: Fragile, behind: Cluster, fragile_instance: MakeInstance
) -> None:
    topic = behind.schedule_topic()
    ledger = Ledger(behind, [topic], behind.topic())
    kms = fragile_instance([topic], **FAST).start().caught_up()
    ledger.add(2_000, spread_ms=1_000)
    ledger.wait_for(0.3)
    fragile.kafka.kill()
    kms.wait_for_log("trying again")
    kms.stop()
    fragile.kafka.start()
    kms.start()
    ledger.settle([kms])
    wait_for("the broker", lambda: behind.end_offset(topic) > 0)


@pytest.mark.parametrize("how", ["refuses", "is frozen"])
def test_who_schedules_by_http_is_told(
    fragile: Fragile, behind: Cluster, fragile_instance: MakeInstance, how: str
) -> None:
    """Each in time, and nobody who asks for health has to wait for it."""
    topic, target = behind.schedule_topic(), behind.topic()
    kms = fragile_instance([topic], KMS_HTTP_TOKEN=TOKEN, **FAST).start().caught_up()
    assert post(kms, {"to": target, "at": LATER, "id": "x"}).status == 201
    assert fragile.kafka.pid is not None
    if how == "refuses":
        fragile.proxy.refuse()
    else:
        os.kill(fragile.kafka.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with ThreadPoolExecutor(MANY) as pool:
            begun = [pool.submit(post, kms, {"to": target, "at": LATER}) for _ in range(MANY)]
            while not all(it.done() for it in begun):
                assert asked(f"{kms.url}/health/live").status == 200
                time.sleep(0.02)
        assert time.monotonic() - started < REQUEST_SECONDS
        assert {it.result().status for it in begun} == {503}
        assert all(it.result().json["error"] for it in begun)
    finally:
        fragile.proxy.allow()
        os.kill(fragile.kafka.pid, signal.SIGCONT)
    wait_for("Kafka", lambda: post(kms, {"to": target, "in": "0s", "id": "x"}).status == 201)
    assert behind.arrived(target, 1)
    assert kms.log.count("that came by HTTP was not written") == 1
    assert kms.stop() == 0
