"""Signals that ask for an end, however many of them come, and whenever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from kms import stop_signals
from kms.stop_signals import stopping_on

DEADLINE_SECONDS = 20.0
NUMBERS = signal.SIGTERM, signal.SIGHUP
ROUNDS = 200
# Main is in wait() over and over: a handler that took the event's lock would wait for main there.
OVER_AND_OVER = f"""
import signal, sys, threading
from kms.stop_signals import stopping_on

for _ in range({ROUNDS}):
    stopping = threading.Event()
    with stopping_on([signal.SIGTERM], stopping, lambda _: None, to_the_end=True):
        print("ready", flush=True)
        while not stopping.is_set():
            stopping.wait(0.00001)
sys.exit(7)
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_the_first_one_stops_and_what_comes_with_it_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stop_signals, "AGAIN_SECONDS", DEADLINE_SECONDS)
    stopping, again = threading.Event(), list[int]()
    with stopping_on(NUMBERS, stopping, again.append) as asked:
        assert asked.number == 0
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            send(number)
        assert stopping.wait(DEADLINE_SECONDS)
        assert (asked.number, again) == (signal.SIGTERM, [])
        monkeypatch.setattr(stop_signals, "AGAIN_SECONDS", 0.0)
        send(signal.SIGHUP)
        assert again == [signal.SIGHUP]
    assert {signal.getsignal(number) for number in NUMBERS} == {signal.SIG_DFL}


def test_a_first_one_while_it_stops_by_itself_is_no_second_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stop_signals, "AGAIN_SECONDS", 0.0)
    stopping, again = threading.Event(), list[int]()
    with stopping_on(NUMBERS, stopping, again.append):
        stopping.set()  # its time is over
        send(signal.SIGTERM)
        assert again == []


@pytest.mark.parametrize("stopped", [False, True])
def test_to_the_end(stopped: bool) -> None:
    with stopping_on(NUMBERS, threading.Event(), lambda _: None, to_the_end=True):
        if stopped:
            send(signal.SIGHUP)
    after = signal.SIG_IGN if stopped else signal.SIG_DFL
    assert {signal.getsignal(number) for number in NUMBERS} == {after}


def test_two_at_once_never_hang_it() -> None:
    command = [sys.executable, "-c", OVER_AND_OVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        watchdog = threading.Timer(DEADLINE_SECONDS, process.kill)
        watchdog.start()
        assert process.stdout is not None
        for _ in process.stdout:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
        code = process.wait()
        watchdog.cancel()
    assert code == 7
