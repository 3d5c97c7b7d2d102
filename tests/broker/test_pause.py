"""Target topics that are paused, or have a limit: what is due waits, and nothing waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kms.formats import AVRO
from kms.schedule import Schedule
from tests.broker.cluster import Arrived, Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
LIMIT = 100  # messages a second


class Scene:
    """A schedule topic with two partitions, two targets, and the commands of its group."""

    def __init__(self, cluster: Cluster, make: MakeInstance, **settings: str) -> None:
        self.cluster = cluster
        self.topic = cluster.schedule_topic(partitions=2)
        self.target, self.other = cluster.topic(), cluster.topic()
        limits = {name: text.replace("TARGET", self.target) for name, text in settings.items()}
        self.kms = make([self.topic], **limits)
        self.commands = Kms(cluster.bootstrap, self.kms.cache)
        self.commands.environment |= {
            "SCHEDULE_TOPICS": self.topic,
            "CONSUMER_GROUP_ID": self.kms.group,
        }
        self._make = make

    def another(self, **settings: str) -> Instance:
        """One more instance of the group."""
        return self._make([self.topic], group=self.kms.group, **settings)

    def put(self, schedule_id: str, due_ms: int, target: str = "", **asked: str) -> None:
        wanted = Schedule(due_ms, target or self.target, b"k", schedule_id.encode())
        headers = [(f"kms-{name}", text.encode()) for name, text in asked.items()]
        value = AVRO.encode_value(wanted)
        self.cluster.write(self.topic, schedule_id.encode(), value, headers=headers)

    def marks(self, *names: str) -> None:
        """Schedules for the other target, due now: they must be fired while others wait."""
        for name in names:
            self.put(name, now_ms(), self.other)
        self.cluster.flush()
        wanted = {name.encode() for name in names}
        wait_for(
            "the marks",
            lambda: wanted <= {it.value for it in self.cluster.read(self.other)} or None,
        )

    def values(self) -> list[bytes | None]:
        """What the target got."""
        return [it.value for it in self.cluster.read(self.target)]

    def pending(self) -> list[dict[str, object]]:
        text = self.commands.ok("inspect", "--json", "--limit", "0")
        return [json.loads(line) for line in text.splitlines()]

    def tombstones(self) -> set[bytes | None]:
        return {it.key for it in self.cluster.read(self.topic) if it.value is None}


def test_what_is_paused_waits_on_every_instance_and_over_a_restart(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.kms.start().caught_up(2)
    done = scene.commands.run("pause", scene.target)
    assert b"paused target topic" in done.stdout
    assert done.stderr == b""
    scene.kms.wait_for_log(f"Paused: target topic {scene.target}")
    ids = [f"waits-{number}" for number in range(40)]
    for schedule_id in ids:
        scene.put(schedule_id, now_ms())
    scene.marks(*(f"mark-{number}" for number in range(20)))
    held = f'kms_schedules_held{{topic="{scene.target}"}}'
    wait_for("them to be held", lambda: scene.kms.metrics().get(held) == len(ids) or None)
    assert scene.kms.metrics()[f'kms_target_paused{{topic="{scene.target}"}}'] == 1
    assert scene.kms.metrics()["kms_overdue_seconds"] == 0
    found = scene.pending()
    assert {it["id"] for it in found} == set(ids)
    assert {it["paused"] for it in found} == {True}
    shown = scene.commands.run("inspect").stderr.decode()
    assert f"Paused: target topic {scene.target}, since" in shown
    checked = scene.commands.run("check").stdout.decode()
    assert f"python kms.py resume {scene.target}" in checked
    # Another instance takes half of them over from nothing, the first one comes back to its cache.
    second = scene.another().start()
    second.wait_for_log("Caught up:")
    assert scene.kms.stop() == 0
    scene.kms.start()
    scene.kms.wait_for_log("Caught up:")
    scene.marks(*(f"mark-again-{number}" for number in range(20)))
    assert scene.values() == []
    assert "fires now" in scene.commands.ok("resume", scene.target)
    arrived = cluster.arrived(scene.target, len(ids))
    scene.marks("mark-end")
    assert sorted(map(_value, arrived)) == sorted(map(str.encode, ids))
    assert len(scene.values()) == len(ids)
    wait_for("an empty cache", lambda: scene.tombstones() >= {i.encode() for i in ids} or None)


def test_what_is_skipped_is_ended_and_what_recurs_goes_on(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.commands.ok("pause", "--all")  # before anybody runs
    scene.put("skipped", now_ms())
    scene.put("recurs", now_ms(), every="2s")
    scene.put("later", now_ms() + 3_600_000)
    cluster.flush()
    scene.kms.start().caught_up(2)
    scene.kms.wait_for_log("Paused: all target topics")
    assert scene.commands.run("resume", scene.target).returncode != 0  # all are
    assert scene.values() == []
    scene.commands.ok("resume", "--all", "--skip")
    (first, *_) = cluster.arrived(scene.target, 1)
    assert first.value == b"recurs"  # its next time
    wait_for("its tombstone", lambda: b"skipped" in scene.tombstones() or None)
    assert b"skipped" not in scene.values()
    assert {it["id"] for it in scene.pending()} >= {"recurs", "later"}
    # What is due at a time of the pause, and was written after it, is not meant.
    scene.put("past", int(first.timestamp_ms) - 3_000)
    cluster.flush()
    wait_for("the late one", lambda: b"past" in scene.values() or None)


def test_a_pause_of_all_holds_over_a_restart_and_one_by_name_outlives_it(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.commands.ok("pause", scene.target)
    scene.commands.ok("pause", "--all")
    scene.put("named", now_ms())
    scene.put("other", now_ms(), scene.other)
    cluster.flush()
    pending = 'kms_schedules_pending{partition="%d",schedule_topic="%s"}'
    names = [pending % (number, scene.topic) for number in range(2)]
    for _ in range(2):
        scene.kms.start().caught_up(2)
        scene.kms.wait_for_log("Paused: all target topics")
        wait_for("both", lambda: sum(scene.kms.metrics().get(name, 0) for name in names) == 2)
        assert scene.kms.stop() == 0
    assert (scene.values(), cluster.read(scene.other)) == ([], [])
    found = scene.commands.run("resume", "--all")
    assert found.returncode == 0
    assert f"still paused: target topic {scene.target}" in found.stderr.decode()
    scene.kms.start()
    assert [it.value for it in cluster.arrived(scene.other, 1)] == [b"other"]
    scene.marks("mark")
    assert scene.values() == []
    scene.commands.ok("resume", scene.target)
    assert [it.value for it in cluster.arrived(scene.target, 1)] == [b"named"]
    assert scene.kms.stop() == 0


def test_the_instances_of_a_group_keep_to_a_limit_together(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance, KMS_RATE_LIMITS=f"TARGET={LIMIT}")
    second = scene.another(KMS_RATE_LIMITS=f"{scene.target}={LIMIT}")
    scene.commands.ok("pause", scene.target)  # until both have their partition
    count = 5 * LIMIT
    for number in range(count):
        scene.put(f"limited-{number:04}", now_ms())
    cluster.flush()
    for kms in (scene.kms, second):
        kms.start()
    for kms in (scene.kms, second):
        kms.caught_up(1)
    held = f'kms_schedules_held{{topic="{scene.target}"}}'
    both = (scene.kms, second)
    wait_for("all to be held", lambda: sum(it.metrics().get(held, 0) for it in both) == count)
    scene.commands.ok("resume", scene.target)
    arrived = cluster.arrived(scene.target, count)
    times_ms = sorted(it.timestamp_ms for it in arrived)
    assert len(arrived) == count
    assert times_ms[-1] - times_ms[0] >= 1_000 * (count / LIMIT - 1)
    for kms in both:
        assert f'fired_total{{topic="{scene.target}"}}' in str(kms.metrics())
        assert kms.stop() == 0


def test_what_is_skipped_does_not_wait_for_the_limit(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance, KMS_RATE_LIMITS="TARGET=1")
    scene.commands.ok("pause", scene.target)
    count = 3_000  # at the limit they would take most of an hour
    for number in range(count):
        scene.put(f"skipped-{number}", now_ms())
    cluster.flush()
    scene.kms.start().caught_up(2)
    held = f'kms_schedules_held{{topic="{scene.target}"}}'
    wait_for("them to be held", lambda: scene.kms.metrics().get(held) == count or None)
    scene.commands.ok("resume", scene.target, "--skip")
    scene.put("fires", now_ms())
    cluster.flush()
    wait_for("the new one", lambda: scene.values() == [b"fires"] or None)
    wait_for("the tombstones", lambda: len(scene.tombstones()) == count + 1 or None)
    assert scene.values() == [b"fires"]


def test_a_run_that_ends_by_itself_does_not_wait_for_what_is_paused(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.commands.ok("pause", scene.target)
    scene.put("waits", now_ms())
    scene.put("fires", now_ms(), scene.other)
    cluster.flush()
    assert scene.kms.start("--once").ended() == 0
    assert [it.value for it in cluster.read(scene.other)] == [b"fires"]
    assert scene.values() == []
    scene.commands.ok("resume", scene.target)
    assert scene.kms.start("--once").ended() == 0
    assert scene.values() == [b"waits"]
    misspelt = f"{scene.target}s"
    assert f"there is no topic {misspelt}" in scene.commands.run("pause", misspelt).stderr.decode()


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_no_more_than_its_limit_goes_to_a_target_and_the_others_are_not_slowed(
    cluster: Cluster, instance: MakeInstance, delivery: str
) -> None:
    limits = {"KMS_RATE_LIMITS": f"TARGET={LIMIT}", "KMS_DELIVERY": delivery}
    scene = Scene(cluster, instance, **limits)
    due_ms, count = now_ms() - 60_000, 5 * LIMIT
    for number in range(count):
        scene.put(f"limited-{number:04}", due_ms + number)
    cluster.flush()
    scene.kms.start().caught_up(2)
    scene.marks(*(f"mark-{number}" for number in range(10)))
    arrived = cluster.arrived(scene.target, count)
    assert sorted(map(_value, arrived)) == [b"limited-%04d" % number for number in range(count)]
    times_ms = sorted(it.timestamp_ms for it in arrived)
    marks = cluster.read(scene.other)
    assert max(it.timestamp_ms for it in marks) < times_ms[-1]  # they did not wait for them
    # A busy machine sends a moment later what it was allowed; test_rates.py has it to the token.
    assert times_ms[-1] - times_ms[0] >= 1_000 * (count / LIMIT - 1)
    limit = f'kms_target_rate_limit{{topic="{scene.target}"}}'
    assert scene.kms.metrics()[limit] == LIMIT
    assert scene.kms.stop() == 0


def _value(found: Arrived) -> bytes:
    return found.value or b""
