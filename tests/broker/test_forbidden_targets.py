"""A target topic that kms may not write to: the others fire, and it does once it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_kafka import LocalKafka

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance
from tests.broker.permissions import OPEN, forbidden

GOOD = 5_000
FAST = {"KMS_RETRY_PAUSE": "100ms", "KMS_RETRY_LONGEST_PAUSE": "1s"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker with an authorizer."""
    broker = LocalKafka(tmp_path_factory.mktemp("guarded"), OPEN)
    try:
        broker.start()
        yield Cluster(broker.bootstrap)
    finally:
        broker.kill()


@pytest.fixture
def kms(guarded: Cluster, tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    made: list[Instance] = []

    def make(topics: list[str], **environment: str) -> Instance:
        made.append(Instance(guarded, tmp_path, topics, **(FAST | environment)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.clean_up()


def test_it_is_tried_again_until_it_is_allowed(
    guarded: Cluster, kms: Callable[..., Instance]
) -> None:
    topic, target, closed = guarded.schedule_topic(), guarded.topic(4), guarded.topic()
    with forbidden(guarded, closed):
        for number in range(GOOD):
            if number % 1_000 == 500:
                wanted = Schedule(number, closed, b"k", b"bad %d" % number)
                guarded.schedule(topic, b"bad %d" % number, wanted)
            name = b"%d" % number
            guarded.schedule(topic, name, Schedule(number, target, name, name))
        guarded.flush()
        instance = kms([topic]).start()
        guarded.arrived(target, GOOD)
        failures = f'kms_firing_failures_total{{reason="not-authorised",topic="{closed}"}}'
        wait_for("attempts", lambda: instance.metrics().get(failures, 0) >= 15)
        guarded.schedule(topic, b"later", Schedule(now_ms(), target, b"", b"-1"))
        guarded.flush()
        guarded.arrived(target, GOOD + 1)
    assert len(guarded.arrived(closed, 5)) == 5
    assert instance.stop() == 0
    assert sorted(int(it.value or b"") for it in guarded.read(target)) == list(range(-1, GOOD))
    assert len(guarded.read(closed)) == 5
    assert len([line for line in instance.log.splitlines() if "Can't fire" in line]) == 1


def test_a_permission_may_go_while_it_fires(guarded: Cluster, kms: Callable[..., Instance]) -> None:
    topic, target, other = guarded.schedule_topic(), guarded.topic(), guarded.topic()
    dead = guarded.topic()
    options = {"KMS_DEAD_LETTER_TOPIC": dead, "KMS_RETRY_FOR": "1s"}
    instance = kms([topic], **options).start().caught_up()
    guarded.schedule(topic, b"a", Schedule(0, other, b"", b"a"))
    guarded.flush()
    guarded.arrived(other, 1)
    with forbidden(guarded, other):
        for number in range(100):
            guarded.schedule(topic, b"%d" % number, Schedule(0, target, b"", b"%d" % number))
            if number == 50:
                guarded.schedule(topic, b"b", Schedule(0, other, b"", b"b"))
        guarded.flush()
        guarded.arrived(target, 100)
        (letter,) = guarded.arrived(dead, 1)
        assert dict(letter.headers)["kms-reason"] == b"not-authorised"
    assert instance.stop() == 0
    assert len(guarded.read(target)) == 100
    assert [it.value for it in guarded.read(other)] == [b"a"]
