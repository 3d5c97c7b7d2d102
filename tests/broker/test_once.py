"""Cron style: ``run --once`` and ``run --until``, each a process that ends by itself."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kms.errors import ExitCode
from kms.schedule import Schedule
from kms.times import iso_time
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.commands import Done, Kms
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
HOUR_MS = 3_600_000
FAST = {"KMS_SESSION_TIMEOUT_MS": "6000", "KMS_TRANSACTION_TIMEOUT_MS": "3000"}
LINE = re.compile(
    r"fired (?P<fired>\d+)(, to the dead-letter topic (?P<letters>\d+))?, pending (?P<pending>\d+),"
    r" failed (?P<failed>\d+), next due (?P<next>\S+), took (?P<seconds>\d+\.\d\d) s\n"
)


@pytest.fixture
def topic(cluster: Cluster) -> str:
    return cluster.schedule_topic(3)


@pytest.fixture
def kms(cluster: Cluster, topic: str, tmp_path: Path) -> Kms:
    """Runs ``kms.py`` with a group, an identity and a cache of its own."""
    kms = Kms(cluster.bootstrap, tmp_path / "kms.sqlite")
    name = f"group-{uuid.uuid4().hex[:8]}"
    kms.environment |= {"SCHEDULE_TOPICS": topic, "CONSUMER_GROUP_ID": name, **FAST}
    return kms


def ran(done: Done) -> dict[str, str]:
    """What its one line says."""
    assert done.returncode == 0, done.stderr.decode()
    found = LINE.fullmatch(done.stdout.decode())
    assert found is not None, done.stdout
    return found.groupdict()


def seen_ms(cache: Path) -> list[int]:
    connection = sqlite3.connect(cache)
    try:
        return [row[0] for row in connection.execute("SELECT seen_ms FROM partitions")]
    finally:
        connection.close()


def test_it_fires_what_is_due_says_so_and_ends(cluster: Cluster, kms: Kms, topic: str) -> None:
    target, missing = cluster.topic(), f"missing-{topic}"
    due_ms = now_ms() + HOUR_MS
    for number in range(2_000):
        cluster.schedule(topic, b"%d" % number, Schedule(number, target, b"", b"%d" % number))
    cluster.schedule(topic, b"later", Schedule(due_ms, target, b"", b"later"))
    cluster.schedule(topic, b"refused", Schedule(0, missing, b"", b"refused"))
    cluster.flush()

    done = kms.run("run", "--once", "--timeout", "50s")
    first = ran(done)
    assert len(done.stderr.splitlines()) < 20  # no line for each schedule
    assert (first["fired"], first["pending"], first["failed"]) == ("2000", "2", "1")
    assert first["next"] == iso_time(due_ms)
    assert cluster.members(kms.environment["CONSUMER_GROUP_ID"]) == 0
    arrived = Counter(it.value for it in cluster.read(target))
    assert arrived == {b"%d" % number: 1 for number in range(2_000)}

    before_ms = now_ms()
    second = kms.run("run", "--once", "--log-format", "json")
    assert second.returncode == 0
    summary = json.loads(second.stdout)
    assert summary.pop("took_seconds") > 0
    assert summary == {
        "fired": 0,
        "dead_letters": 0,
        "pending": 2,
        "failed": 1,
        "next_due": first["next"],
    }
    # Else the cache would be as old as the topic's delete.retention.ms one day, and dropped.
    assert min(seen_ms(kms.cache)) >= before_ms
    logged = [json.loads(line) for line in second.stderr.splitlines()]
    assert [it["thread"] for it in logged if it["message"].startswith("Caught up")] == [
        "consumer"
    ] * 3

    cluster.topic(name=missing)
    assert ran(kms.run("run", "--once"))["fired"] == "1"
    assert [it.value for it in cluster.read(missing)] == [b"refused"]


def test_until_fires_what_falls_due_meanwhile(cluster: Cluster, kms: Kms, topic: str) -> None:
    target = cluster.topic()
    for number in range(20):
        due_ms = now_ms() + 200 * number
        cluster.schedule(topic, b"%d" % number, Schedule(due_ms, target, b"", b"%d" % number))
    cluster.flush()
    until_ms = due_ms + 1
    cluster.schedule(topic, b"later", Schedule(due_ms + HOUR_MS, target, b"", b"later"))
    cluster.flush()
    found = ran(kms.run("run", "--until", str(until_ms)))
    assert now_ms() >= until_ms
    assert (found["fired"], found["pending"]) == ("20", "1")
    assert len(cluster.read(target)) == 20
    assert ran(kms.run("run", "--until", "1s"))["fired"] == "0"


def test_a_second_call_does_nothing_or_waits_for_its_turn(
    cluster: Cluster, kms: Kms, topic: str, instance: MakeInstance
) -> None:
    target = cluster.topic()
    group = kms.environment["CONSUMER_GROUP_ID"]
    service = instance([topic], cache=kms.cache, group=group, **FAST).start().caught_up(3)
    for arguments in (("--once",), ("--until", "1h")):
        done = kms.run("run", *arguments)
        sentence = f"Nothing was done: another process is using the cache {kms.cache}.\n"
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, sentence, b"")
    waited = kms.run("run", "--once", "--wait", "--timeout", "1s")
    assert (waited.returncode, waited.stdout) == (ExitCode.TIMED_OUT, b"")
    assert b"another process used the cache all the time" in waited.stderr

    waiting = instance([topic], cache=kms.cache, group=group, **FAST).start("--once", "--wait")
    waiting.wait_for_log("Waiting for its turn")
    service.stop()
    cluster.schedule(topic, b"id", Schedule(0, target, b"", b"value"))
    cluster.flush()
    assert waiting.ended() == 0
    assert "fired 1," in waiting.log
    assert len(cluster.read(target)) == 1


def test_what_can_not_go_on_ends_with_the_timeout(kms: Kms) -> None:
    kms.environment["KAFKA_BROKERS"] = "127.0.0.1:1"
    done = kms.run("run", "--once", "--timeout", "2s", "--log-format", "json")
    assert (done.returncode, done.stdout) == (ExitCode.TIMED_OUT, b"")
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["level"] == "ERROR"
    sentence = "Gave up after --timeout 2s: Kafka did not answer. Fired 0;"
    assert last["message"].startswith(sentence)


def test_a_schedule_topic_that_is_not_there_is_waited_for(kms: Kms, topic: str) -> None:
    kms.environment["SCHEDULE_TOPICS"] = f"{topic}-missing"
    done = kms.run("run", "--once", "--timeout", "4s")
    assert done.returncode == ExitCode.TIMED_OUT
    said = done.stderr.decode()
    assert f"Schedule topic {topic}-missing does not exist; waiting until it is created" in said
    assert f"gave it no partitions; do the topics {topic}-missing exist?" in said.splitlines()[-1]


def test_with_all_partitions_elsewhere_there_is_nothing_to_do(
    cluster: Cluster, kms: Kms, instance: MakeInstance
) -> None:
    topic, group = cluster.schedule_topic(), kms.environment["CONSUMER_GROUP_ID"]
    kms.environment["SCHEDULE_TOPICS"] = topic
    instance([topic], group=group, **FAST).start().caught_up()
    assert ran(kms.run("run", "--once"))["pending"] == "0"


def test_killed_in_the_middle_it_loses_nothing_and_fires_nothing_twice(
    cluster: Cluster, kms: Kms, topic: str, instance: MakeInstance
) -> None:
    target = cluster.topic()
    for number in range(20_000):
        cluster.schedule(topic, b"%d" % number, Schedule(number, target, b"", b"%d" % number))
    cluster.flush()
    group = kms.environment["CONSUMER_GROUP_ID"]
    killed = instance([topic], cache=kms.cache, group=group, **FAST).start("--once")
    wait_for("some to have fired", lambda: cluster.end_offset(target) > 0)
    killed.kill()
    found = ran(kms.run("run", "--once"))
    assert 0 < int(found["fired"]) <= 20_000
    assert found["pending"] == "0"
    arrived = Counter(it.value for it in cluster.read(target))
    assert arrived == {b"%d" % number: 1 for number in range(20_000)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--once", "--until", "5s"], "--once, --until: give one of them."),
        (["--wait"], "need --once or --until."),
        (["--timeout", "5s"], "need --once or --until."),
        (["--until", "soon"], "'soon' is no time"),
        (["--once", "--timeout", "5"], "'5' is no duration"),
    ],
)
def test_wrong_arguments(kms: Kms, arguments: list[str], sentence: str) -> None:
    done = kms.run("run", *arguments)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, b"")
    assert sentence in " ".join(done.stderr.decode().replace("│", " ").split())
