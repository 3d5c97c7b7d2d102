"""The demo: it passes, it fails when something is wrong, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.cluster import Cluster, wait_for
from tests.broker.instance import ROOT

DEMO_SECONDS = 60.0
NAMES = ("past", "changed", "greeting", "binary", "null")  # that must fire


class Demo:
    """``kms.py demo`` as a process; ``out`` is what it printed so far."""

    def __init__(self, cluster: Cluster, folder: Path, **environment: str) -> None:
        self.cluster = cluster
        self.folder = folder
        self.out = ""
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(ROOT / "kms.py"), "demo"],
            env={
                **{name: value for name, value in os.environ.items() if "KAFKA" not in name},
                "KAFKA_BROKERS": cluster.bootstrap,
                "TMPDIR": str(folder),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, text: str) -> None:
        wait_for(text, lambda: text in self.out or self.process.poll() is not None)
        assert text in self.out

    def ended(self) -> int:
        code = self.process.wait(DEMO_SECONDS)
        self._thread.join()
        return code

    @property
    def service(self) -> int:
        """The service's process id."""
        return int(self.out.split("runs as process ")[1].split(";")[0])

    @property
    def topics(self) -> set[str]:
        """Those of this demo that exist."""
        found = self.cluster.admin.list_topics(timeout=10).topics
        return {name for name in found if name in self.out and name.startswith("kms-demo-")}

    def leaves_nothing(self) -> bool:
        return not self.topics and list(self.folder.iterdir()) == []

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._thread.join(10)
        if self.topics:  # a second Ctrl-C leaves them
            for future in self.cluster.admin.delete_topics(list(self.topics)).values():
                future.result()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.out += line.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def demo(cluster: Cluster, folder: Path) -> Iterator[Demo]:
    made = Demo(cluster, folder)
    yield made
    made.clean_up()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]


def test_it_shows_everything_and_passes(demo: Demo) -> None:
    assert demo.ended() == 0, demo.out
    out = demo.out
    assert "\x1b" not in out  # plain on a pipe
    for name in NAMES:
        assert out.count(f"  fired      {name}") == 1
        assert out.count(f"  tombstone  {name}") == 1
    assert "schedule:expired=true kms-fired-offset=" in out
    assert "fired      cancelled" not in out
    assert "the old value" not in out
    assert "; its metrics: http://localhost:" in out
    assert 'metrics    kms_schedules_fired_total{topic="kms-demo-' in out
    assert '-messages"} 5.0' in out
    assert "right      each message exactly once" in out
    assert not runs(demo.service)
    wait_for("its topics to be gone", demo.leaves_nothing)


def test_a_service_that_dies_is_told(demo: Demo) -> None:
    demo.wait_for("fired      past")
    os.kill(demo.service, signal.SIGKILL)
    assert demo.ended() == 1, demo.out
    assert "wrong      The service ended by itself with exit code -9." in demo.out
    assert "wrong      null came 0 times, not once." in demo.out
    assert "right" not in demo.out
    wait_for("its topics to be gone", demo.leaves_nothing)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("kafka  ", signal.SIGINT),
        ("kms runs:", signal.SIGTERM),
        ("runs as process", signal.SIGHUP),
        ("fired   ", signal.SIGINT),
        ("gets SIGTERM", signal.SIGINT),
    ],
)
def test_stopped_at_any_moment_it_leaves_nothing(
    demo: Demo, moment: str, number: signal.Signals
) -> None:
    demo.wait_for(moment)
    os.killpg(demo.process.pid, number)  # as a terminal does it: the whole group
    code = demo.ended()
    assert code == 128 + number, demo.out
    assert "stopped    before the end" in demo.out
    assert "Traceback" not in demo.out
    assert processes_of(demo) == []
    wait_for("its topics to be gone", demo.leaves_nothing)


def test_a_second_ctrl_c_leaves_at_once(demo: Demo) -> None:
    demo.wait_for("runs as process")
    os.kill(demo.service, signal.SIGSTOP)  # it would never end by itself
    demo.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        demo.process.wait(1)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(5) == 128 + signal.SIGINT
    wait_for("the service to be gone", lambda: not runs(demo.service))


def test_without_a_broker_it_is_a_sentence(cluster: Cluster, folder: Path) -> None:
    demo = Demo(cluster, folder, KAFKA_BROKERS="127.0.0.1:1")
    try:
        assert demo.ended() == 1
        assert "wrong      Creating topic kms-demo-" in demo.out
        assert "Traceback" not in demo.out
    finally:
        demo.clean_up()


def processes_of(demo: Demo) -> list[str]:
    """Whatever still runs with this demo's cache folder in its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{demo.folder}/kms-demo-".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue  # gone meanwhile
    return found
