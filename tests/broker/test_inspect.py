"""``inspect`` on a real topic: read from Kafka itself, and watched while a service fires."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kms.schedule import Schedule, fired_headers
from kms.times import iso_time
from tests.broker.cluster import Cluster, now_ms
from tests.broker.commands import Kms

HOUR_MS = 3_600_000


@pytest.fixture
def kms(cluster: Cluster, tmp_path: Path) -> Kms:
    kms = Kms(cluster.bootstrap, tmp_path / "no-cache.sqlite")
    kms.environment["TMPDIR"] = str(tmp_path)
    return kms


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class TestFromKafka:
    def test_the_same_fold_without_a_cache(
        self, cluster: Cluster, kms: Kms, tmp_path: Path
    ) -> None:
        """Cancelled, fired, overtaken, by another topic's firing, replaced, unreadable, no key."""
        topic = cluster.schedule_topic(2)
        topic_id = cluster.topic_id(topic)
        due_ms = now_ms() + HOUR_MS

        def put(name: bytes, target: str = "out", later_ms: int = 0) -> None:
            schedule = Schedule(due_ms + later_ms, target, name, b"v")
            cluster.schedule(topic, name, schedule, partition=0)
            cluster.flush()

        def end(name: bytes, offset: int | None = None, of: str = topic_id) -> None:
            headers = [] if offset is None else fired_headers(offset, of)
            cluster.write(topic, name, None, headers=headers, partition=0)
            cluster.flush()

        put(b"cancelled")  # offset 0
        end(b"cancelled")
        put(b"fired")
        end(b"fired", 2)
        put(b"overtaken")
        put(b"overtaken", "new", 1)
        end(b"overtaken", 4)
        put(b"copied")
        end(b"copied", 0, "another topic's id")
        put(b"stays", later_ms=2)
        cluster.write(topic, b"bad", b"no schedule", partition=0)
        cluster.write(topic, None, b"no key", partition=0)
        cluster.schedule(topic, b"stays", Schedule(due_ms + 3, "out", b"", b""), partition=1)
        cluster.flush()

        at = ("--from-kafka", "--topic", topic)
        found = lines(kms.ok("inspect", *at, "--json"))
        where = {(each["id"], each["partition"]): each["offset"] for each in found}
        assert where == {
            ("bad", 0): 10,
            ("kms-no-id-11", 0): 11,
            ("overtaken", 0): 5,
            ("stays", 0): 9,
            ("stays", 1): 0,
        }
        assert [each["id"] for each in found][2:] == ["overtaken", "stays", "stays"]
        assert kms.ok("inspect", *at, "--count", "--target", "out") == "2\n"
        assert kms.ok("inspect", *at, "--count", "--prefix", "over", "--target", "new") == "1\n"
        done = kms.run("inspect", *at)
        assert f"  {topic}/0 up to offset 12, read at 20" in done.stdout.decode()
        assert done.stderr == b""

        whole = kms.ok("inspect", *at, "overtaken")
        assert f"record:       {topic}/0 offset 5" in whole
        history = [line for line in whole.splitlines() if f"  {topic}/0 offset " in line]
        assert [line.split(": ", 1)[1] for line in history] == [
            f"scheduled for {iso_time(due_ms)}",
            f"scheduled for {iso_time(due_ms + 1)}",
            "fired in an older version; the newer one is to be written again",
        ]
        gone = kms.run("inspect", *at, "fired", "--json")
        assert (gone.returncode, gone.stderr.decode().splitlines()[-1]) == (
            *(1, "fired is not pending."),
        )
        (ended,) = lines(gone.stdout.decode())
        assert [each["change"] for each in ended["history"]] == ["scheduled", "fired"]
        assert [each["offset"] for each in ended["history"]] == [2, 3]
        assert list(tmp_path.iterdir()) == []  # nothing is left behind

    def test_what_it_can_not_do(self, kms: Kms) -> None:
        done = kms.run("inspect", "--from-kafka")
        assert done.returncode == 2
        assert done.stderr == b"Name the schedule topic with --topic: SCHEDULE_TOPICS is empty.\n"
        done = kms.run("inspect", "--from-kafka", "--failed", "--topic", "any")
        assert done.returncode == 2
        assert b"failed attempts are in the cache alone" in done.stderr
        done = kms.run("inspect", "--from-kafka", "--topic", "no-such-topic")
        assert done.returncode != 0
        assert done.stderr == b"Topic no-such-topic does not exist.\n"
