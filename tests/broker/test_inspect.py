"""``inspect`` on a real topic: read from Kafka itself, and watched while a service fires."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from kms.formats import AVRO
from kms.schedule import Schedule, fired_headers
from kms.times import iso_time
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import ROOT, Instance

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
        """Cancelled, fired, overtaken, by another topic's firing, replaced, unreadable."""
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
        value = AVRO.encode_value(Schedule(due_ms + 3, "out", b"", b""))
        cluster.write(topic, b"stays", value, headers=[("kms-every", b"5m")], partition=1)
        cluster.flush()

        at = ("--from-kafka", "--topic", topic)
        found = lines(kms.ok("inspect", *at, "--json"))
        where = {(each["id"], each["partition"]): each["offset"] for each in found}
        assert where == {
            ("bad", 0): 10,
            ("overtaken", 0): 5,
            ("stays", 0): 9,
            ("stays", 1): 0,
        }
        assert [each["id"] for each in found][1:] == ["overtaken", "stays", "stays"]
        kinds = [each.get("kind") for each in found]
        assert kinds == [None, None, None, {"every": "5m", "occurrence": "0"}]
        assert "every:        5m\nfired:        0 so far" in kms.ok("inspect", *at, "stays")
        assert kms.ok("inspect", *at, "--count", "--target", "out") == "2\n"
        assert kms.ok("inspect", *at, "--count", "--prefix", "over", "--target", "new") == "1\n"
        done = kms.run("inspect", *at)
        assert f"  {topic}/0 up to offset 11, read at 20" in done.stdout.decode()
        assert done.stderr == b""

        whole = kms.ok("inspect", *at, "overtaken")
        assert f"record:       {topic}/0 offset 5" in whole
        history = [line for line in whole.splitlines() if f"  {topic}/0 offset " in line]
        assert [line.split(": ", 1)[1] for line in history][1:] == [
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


class Terminal:
    """A command on a pseudo terminal of its own, as somebody would type it."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, str(ROOT / "kms.py"), *arguments]
        screen = {"TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment | screen)
        self.raw = b""

    def text(self) -> str:
        """All it has written so far, without what moves the cursor."""
        while select.select([self._screen], [], [], 0.0)[0]:
            try:
                data = os.read(self._screen, 65_536)
            except OSError:  # so says Linux of a terminal that its program has left
                break
            if not data:
                break
            self.raw += data
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw.decode(errors="replace"))

    def press(self, key: bytes) -> None:
        os.write(self._screen, key)

    def ended(self) -> int:
        """Wait for the end; answers the exit code."""

        def code() -> int | None:
            self.text()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return os.waitstatus_to_exitcode(status) + 1000 if pid else None

        found = wait_for("its end", code) - 1000
        self.pid = 0
        return found

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._screen)


def test_watching_a_service_at_work(
    cluster: Cluster, instance: Callable[..., Instance], kms: Kms
) -> None:
    topic, target = cluster.schedule_topic(2), cluster.topic()
    service = instance([topic]).start().caught_up(2)
    cluster.schedule(topic, b"later", Schedule(now_ms() + HOUR_MS, target, b"k", b"v"))
    environment = kms.environment | {
        "KMS_CACHE": str(service.cache),
        "PROMETHEUS_SCRAPING_ENDPOINT_PORT": service.url.rsplit(":", 1)[1],
    }
    numbers = itertools.count()

    def fire() -> None:
        for _ in range(20):
            cluster.schedule(topic, b"%d" % next(numbers), Schedule(now_ms(), target, b"k", b"v"))
        cluster.flush()

    with closing(Terminal(environment, "inspect", "--watch")) as terminal:

        def shown(pattern: str) -> bool:
            fire()
            assert "Traceback" not in terminal.text()
            return re.search(pattern, terminal.text()) is not None

        wait_for("the partitions", lambda: shown("partitions +2 of 2 firing"))
        wait_for("what fired", lambda: shown("fired +[1-9][0-9,.]* a second, [1-9]"))
        wait_for("how late", lambda: shown("late +[0-9.]+ ms, 99% [0-9.]+ m?s"))
        wait_for("what is next", lambda: shown(rf"59m[0-9]+s .*later .*{target}"))
        terminal.press(b"\x03")
        assert terminal.ended() == 0
        text = terminal.text()
        assert "Aborted" not in text
        assert "Traceback" not in text
        # The screen that was there before is back, and so is the cursor.
        assert terminal.raw.index(b"\x1b[?1049h") < terminal.raw.rindex(b"\x1b[?1049l")
        assert terminal.raw.rindex(b"\x1b[?25h") > terminal.raw.rindex(b"\x1b[?25l")
    _watch_through_a_pipe(environment, fire)
    assert service.stop() == 0


def _watch_through_a_pipe(environment: dict[str, str], fire: Callable[[], None]) -> None:
    """A JSON object a look from the metrics; from the cache alone where none answer."""
    command = [sys.executable, str(ROOT / "kms.py"), "inspect", "--watch", "--json"]
    for port, source in (("", environment["PROMETHEUS_SCRAPING_ENDPOINT_PORT"]), ("0", "cache")):
        changed = environment | ({"PROMETHEUS_SCRAPING_ENDPOINT_PORT": port} if port else {})
        with subprocess.Popen(command, env=changed, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                fire()
                found = json.loads(line)
                assert source in found["source"]
                rate = found["received_per_second" if source == "cache" else "fired_per_second"]
                if rate and "later" in [each["id"] for each in found["next"]]:
                    break
            for _ in range(30_000):  # up to its very end, where a second one may come too
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.001)
                    break
            assert process.returncode == 0
