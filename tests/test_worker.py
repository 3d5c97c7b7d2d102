"""A worker thread: its failure is kept, its end is noticed, stopping only signals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from kms.worker import Worker

DEADLINE_SECONDS = 20.0


class Calls(Worker):
    """Runs a function, given the worker, as its work."""

    def __init__(self, work: Callable[[Worker], object]) -> None:
        super().__init__("busy")
        self._work = work

    def run(self) -> None:
        self._work(self)


def wait_for_stop(worker: Worker) -> None:
    assert worker.stopping.wait(DEADLINE_SECONDS)


def failing(error: BaseException) -> Callable[[object], object]:
    def fail(_: object) -> object:
        raise error

    return fail


def ended(work: Callable[[Worker], object]) -> Calls:
    worker = Calls(work)
    worker.start()
    assert worker.join(DEADLINE_SECONDS)
    return worker


def test_it_runs_in_a_thread_of_its_name_until_it_is_stopped() -> None:
    names: list[str] = []

    def work(worker: Worker) -> None:
        names.append(threading.current_thread().name)
        wait_for_stop(worker)

    worker = Calls(work)
    worker.raise_for_error()  # not started yet
    worker.start()
    assert not worker.join(0.01)
    worker.raise_for_error()
    worker.stop()
    worker.stop()
    assert worker.join(DEADLINE_SECONDS)
    worker.raise_for_error()
    assert names == ["busy"]


def test_one_that_was_never_started_is_stopped_and_joined_all_the_same() -> None:
    worker = Calls(wait_for_stop)
    worker.stop()
    assert worker.join(0)


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("stopped", [False, True])
def test_what_ended_it_is_raised_as_often_as_one_asks(error: BaseException, stopped: bool) -> None:
    worker = ended(failing(error))
    if stopped:
        worker.stop()
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            worker.raise_for_error()
        assert raised.value is error


def test_one_that_ends_unasked_is_noticed() -> None:
    worker = ended(lambda _: None)
    with pytest.raises(RuntimeError, match="the busy thread ended by itself"):
        worker.raise_for_error()


def test_an_error_is_kept_for_a_library_that_would_swallow_it() -> None:
    answers: list[object] = []
    first, second = ValueError("first"), ValueError("second")

    def work(worker: Worker) -> None:
        answers.append(worker.guarded(lambda: 5))
        answers.append(worker.guarded(lambda: failing(first)(None)))
        answers.append(worker.guarded(lambda: failing(second)(None)))
        wait_for_stop(worker)

    worker = Calls(work)
    worker.start()
    worker.stop()
    assert worker.join(DEADLINE_SECONDS)
    assert answers == [5, None, None]
    with pytest.raises(ValueError, match="first"):
        worker.raise_for_error()


def test_the_first_failure_counts() -> None:
    def work(worker: Worker) -> None:
        worker.guarded(lambda: failing(ValueError("first"))(None))
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        ended(work).raise_for_error()


def test_the_heartbeat_tells_a_thread_that_hangs_from_one_that_turns() -> None:
    go_on, hangs, let_go = threading.Event(), threading.Event(), threading.Event()

    def work(worker: Worker) -> None:
        while not worker.is_over():
            if go_on.wait(0.01):
                hangs.set()
                assert let_go.wait(DEADLINE_SECONDS)
                go_on.clear()

    worker = Calls(work)
    assert worker.heartbeat.age_seconds() == 0.0  # not started: nothing to complain of
    worker.start()
    go_on.set()
    assert hangs.wait(DEADLINE_SECONDS)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while worker.heartbeat.age_seconds() < 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    let_go.set()
    while worker.heartbeat.age_seconds() > 0.4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.stop()
    assert worker.join(DEADLINE_SECONDS)
    worker.raise_for_error()
