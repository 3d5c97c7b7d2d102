"""What systemd is told, on a real socket; tests/faults/test_systemd.py has a whole service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from kms.figures import ConsumerFigures, ProducerFigures
from kms.service import _end
from kms.systemd import START_SECONDS, Systemd, status
from kms.web.health import Health
from kms.worker import Worker
from tests.broker.cluster import wait_for
from tests.notify_socket import NotifySocket

GOOD, BAD = Health(True, "All is well."), Health(False, "The producer thread has not turned.")
NOT_YET = Health(False, "It loads.")
EXTEND = f"EXTEND_TIMEOUT_USEC={START_SECONDS}000000"


@pytest.fixture
def figures() -> tuple[ConsumerFigures, ProducerFigures]:
    return ConsumerFigures(assigned=3, caught_up=3, assigned_at=0.0), ProducerFigures()


def environment(listener: NotifySocket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listener.name, **more}


Figures = tuple[ConsumerFigures, ProducerFigures]


@pytest.mark.parametrize("abstract", [True, False])
def test_ready_is_said_once_and_by_any_kind_of_socket(
    abstract: bool, tmp_path: Path, figures: Figures
) -> None:
    with NotifySocket("" if abstract else str(tmp_path / "notify")) as listener:
        systemd = Systemd(environment(listener))
        systemd.turns(GOOD, NOT_YET, *figures)
        systemd.turns(GOOD, GOOD, *figures)
        systemd.turns(GOOD, NOT_YET, *figures)
        systemd.turns(GOOD, GOOD, *figures)
        systemd.stops()
    lines = listener.lines()
    assert lines.count("READY=1") == lines.count("STOPPING=1") == 1
    assert lines.index("STATUS=It loads.") < lines.index("READY=1") < lines.index("STOPPING=1")
    assert "WATCHDOG=1" not in lines  # nobody watches


def test_a_hung_thread_is_not_fed_for(figures: Figures) -> None:
    with NotifySocket() as listener:
        systemd = Systemd(environment(listener, WATCHDOG_USEC="1", WATCHDOG_PID=str(os.getpid())))
        systemd.turns(GOOD, GOOD, *figures)
        systemd.turns(GOOD, NOT_YET, *figures)
        systemd.waits("Waiting for Kafka.")
        systemd.turns(BAD, BAD, *figures)
        systemd.turns(BAD, BAD, *figures)
    assert listener.lines().count("WATCHDOG=1") == 3


def test_it_is_fed_at_half_of_the_time(figures: Figures) -> None:
    with NotifySocket() as listener:
        systemd = Systemd(environment(listener, WATCHDOG_USEC="3600000000"))
        for _ in range(10):
            systemd.turns(GOOD, GOOD, *figures)
    assert listener.lines().count("WATCHDOG=1") == 1


@pytest.mark.parametrize("watched", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_not_where_another_process_is_watched(figures: Figures, watched: dict[str, str]) -> None:
    with NotifySocket() as listener:
        Systemd(environment(listener, **{"WATCHDOG_USEC": "1", **watched})).turns(
            GOOD, GOOD, *figures
        )
    assert "WATCHDOG=1" not in listener.lines()


def test_patience_is_extended_by_progress_only(
    figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms.systemd._EXTEND_SECONDS", 0.0)
    consumer, _ = figures
    consumer.caught_up, consumer.left_to_load = 1, 500
    with NotifySocket() as listener:
        systemd = Systemd(environment(listener))
        for loaded in (100, 100, 100, 200):
            consumer.loaded = loaded
            systemd.turns(GOOD, NOT_YET, *figures)
        consumer.caught_up = 3
        systemd.turns(GOOD, GOOD, *figures)
        consumer.loaded = 300
        systemd.turns(GOOD, NOT_YET, *figures)
    lines = listener.lines()
    assert lines.count(EXTEND) == 2
    assert lines.index(EXTEND) < lines.index("READY=1")


def test_what_the_status_says(figures: Figures) -> None:
    consumer, producer = figures
    producer.fired["a"], producer.fired["b"] = 2, 3
    said = "Firing: 3 partitions; 5 schedules fired since the start."
    assert status(GOOD, GOOD, consumer, producer) == said
    assert status(BAD, BAD, consumer, producer) == BAD.why
    consumer.caught_up, consumer.loaded, consumer.left_to_load = 1, 40, 60
    said = "Loading: 40 of 100 offsets; 1 of 3 partitions fire."
    assert status(GOOD, NOT_YET, consumer, producer) == said
    assert status(GOOD, NOT_YET, ConsumerFigures(), producer) == NOT_YET.why


def test_a_systemd_that_is_not_there_holds_nothing_up(tmp_path: Path, figures: Figures) -> None:
    for name in ("", str(tmp_path / "gone"), "x" * 200):
        systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1"})
        systemd.turns(GOOD, GOOD, *figures)
        systemd.stops()


def test_ready_is_said_again_where_the_queue_was_full(figures: Figures) -> None:
    """The socket is there, but nobody reads it."""
    name = f"\0kms-full-{os.getpid()}"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler,
    ):
        reader.bind(name)
        reader.setblocking(False)
        filler.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                filler.sendto(b"full", name)
        systemd = Systemd({"NOTIFY_SOCKET": "@" + name[1:]})
        systemd.turns(GOOD, GOOD, *figures)
        with suppress(BlockingIOError):
            while True:
                assert reader.recv(100) == b"full"
        systemd.turns(GOOD, GOOD, *figures)
        assert reader.recv(100) == b"READY=1"


@pytest.mark.slow
def test_a_service_that_waits_for_kafka_says_so_and_stops_when_asked(tmp_path: Path) -> None:
    with NotifySocket() as listener:
        environment = {
            "KAFKA_BROKERS": "127.0.0.1:1",
            "SCHEDULE_TOPICS": "schedules",
            "KMS_CACHE": str(tmp_path / "cache.sqlite"),
            "PROMETHEUS_SCRAPING_ENDPOINT_PORT": "0",
            "NOTIFY_SOCKET": listener.name,
            "WATCHDOG_USEC": "100000",
        }
        command = [sys.executable, str(Path(__file__).parents[1] / "kms.py"), "run"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as kms:
            try:
                wait_for("its food", lambda: listener.lines().count("WATCHDOG=1") > 1)
                kms.send_signal(signal.SIGTERM)
                assert kms.wait(60) == 0
            finally:
                kms.kill()
    assert listener.statuses()[0] == "Waiting for Kafka."
    assert "READY=1" not in listener.lines()
    assert listener.lines().count("STOPPING=1") == 1


class _Slow(Worker):
    """Takes a while to end, as one does that gives its partitions up."""

    def run(self) -> None:
        self.stopping.wait()
        time.sleep(0.7)


def test_the_watchdog_is_fed_while_a_thread_is_waited_for() -> None:
    """After a failure nothing told systemd that the service stops."""
    worker = _Slow("consumer")
    worker.start()
    with NotifySocket() as listener:
        _end(worker, Systemd(environment(listener, WATCHDOG_USEC="200000")))
    assert worker.join(0.0)
    assert len(listener.times("WATCHDOG=1")) >= 2
    assert listener.statuses() == ["Stopping: waiting for the consumer thread."]
