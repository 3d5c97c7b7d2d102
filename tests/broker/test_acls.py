"""The ACLs of docs/security.md are enough, and each of them is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from confluent_kafka.admin import AclBinding, AclOperation

from kms.errors import ExitCode
from kms.schedule import Schedule, fired_headers
from tests.broker.acls import documented
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance
from tests.broker.secured import SecuredKafka

HEADINGS = {"exactly-once": "Exactly once", "at-least-once": "At least once"}


class Allowed(NamedTuple):
    """An instance of a user who has the ACLs of the page, and nothing else."""

    instance: Instance
    acls: list[AclBinding]
    cluster: Cluster
    schedules: str
    target: str
    group: str

    def schedule(self, schedule_id: bytes, value: bytes, due_ms: int | None = None) -> None:
        schedule = Schedule(due_ms or now_ms(), self.target, b"k", value, ())
        self.cluster.schedule(self.schedules, schedule_id, schedule)
        self.cluster.flush()

    def fired(self, count: int) -> list[bytes | None]:
        return [it.value for it in self.cluster.arrived(self.target, count)]


@pytest.fixture(params=HEADINGS)
def delivery(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def allowed(secured: SecuredKafka, tmp_path: Path, delivery: str) -> Iterator[Allowed]:
    cluster, user = secured.cluster, f"user-{uuid4().hex[:8]}"
    schedules, target = cluster.schedule_topic(), cluster.topic()
    environment = secured.environment("SASL", user, secured.user(user))
    environment["KMS_DELIVERY"] = delivery
    instance = Instance(cluster, tmp_path, [schedules], **environment)  # type: ignore[arg-type]
    names = {
        "schedules": schedules,
        "messages": target,
        "com.sky.kafka.scheduler": instance.group,
    }
    acls = documented(HEADINGS[delivery], user, names)
    secured.allow(acls)
    yield Allowed(instance, acls, cluster, schedules, target, instance.group)
    instance.clean_up()


def test_they_are_enough(allowed: Allowed) -> None:
    """To fire, to write an overtaken update again, and to start again with the cache."""
    cluster, topic = allowed.cluster, allowed.schedules
    allowed.schedule(b"u", b"old")
    allowed.schedule(b"u", b"updated", now_ms() + 2_000)
    headers = fired_headers(0, cluster.topic_id(topic))
    cluster.write(topic, b"u", None, headers=headers)
    allowed.schedule(b"a", b"first")
    instance = allowed.instance.start().caught_up()
    assert sorted(map(bytes, filter(None, allowed.fired(2)))) == [b"first", b"updated"]
    assert instance.metrics()["kms_schedules_republished_total"] == 1
    # The tombstone is folded, or the next start has something to read.
    wait_for("an empty cache", lambda: pending(instance) == 0)
    assert instance.stop() == ExitCode.OK
    allowed.schedule(b"b", b"second")
    instance.start().caught_up()
    assert allowed.fired(3)[2] == b"second"
    for quiet in ("WARNING", "ERROR", "rebuilt"):
        assert quiet not in instance.log
    assert instance.stop() == ExitCode.OK


def pending(instance: Instance) -> float:
    return sum(
        value
        for name, value in instance.metrics().items()
        if name.startswith("kms_schedules_pending")
    )


def test_each_is_needed_and_named(
    allowed: Allowed, secured: SecuredKafka, subtests: pytest.Subtests
) -> None:
    """Take one away, see what is said, give it back."""
    expected = {
        ("READ", allowed.schedules): f"READ on topic {allowed.schedules}",
        ("WRITE", allowed.schedules): f"WRITE on topic {allowed.schedules}",
        ("READ", allowed.group): f"READ on group {allowed.group}",
        ("WRITE", f"kms-{allowed.group}-"): f"transactions as kms-{allowed.group}-",
    }
    at_run_time = {
        ("DESCRIBE_CONFIGS", allowed.schedules): "allow DESCRIBE_CONFIGS on it",
        ("WRITE", allowed.target): allowed.target,
    }
    found = {key_of(acl) for acl in allowed.acls}
    transactional = {key for key in expected if key[1].startswith("kms-")}
    assert found in ({*expected, *at_run_time}, {*expected, *at_run_time} - transactional)
    for acl in allowed.acls:
        key = key_of(acl)
        with subtests.test(msg=str(key)):
            secured.forbid(acl)
            try:
                if key in expected:
                    ends(allowed.instance.start(), expected[key])
                else:
                    goes_on(allowed, at_run_time[key])
            finally:
                allowed.instance.clean_up()
                secured.allow([acl])


def key_of(acl: AclBinding) -> tuple[str, str]:
    assert isinstance(acl.operation, AclOperation)
    return acl.operation.name, acl.name


def ends(instance: Instance, text: str) -> None:
    assert instance.ended() == ExitCode.KAFKA, instance.log
    last = instance.log.splitlines()[-1]
    assert text in last
    assert " WRITE on the transactional id" in last or "transactions" not in text
    assert "docs/security.md" in last


def goes_on(allowed: Allowed, text: str) -> None:
    instance = allowed.instance.start().caught_up()
    if text == allowed.target:
        allowed.schedule(b"a", b"v")
        instance.wait_for_log("Can't fire the schedule")
    (line,) = [line for line in instance.log.splitlines() if text in line]
    assert "authoriz" in line.lower()
    assert "docs/security.md" in line or "allow DESCRIBE_CONFIGS" in line
    assert instance.stop() == ExitCode.OK


def test_everything_that_is_missing_is_named_at_once(
    allowed: Allowed, secured: SecuredKafka
) -> None:
    for acl in allowed.acls:
        secured.forbid(acl)
    ends(
        allowed.instance.start(),
        f"Kafka does not allow kms READ on topic {allowed.schedules}, WRITE on topic "
        f"{allowed.schedules}, READ on group {allowed.group}: ",
    )
