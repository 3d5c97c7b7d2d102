"""Whether the service may begin anew within the process, after something that a start heals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kms.errors import CommitInDoubtError, FencedError, KafkaError
from kms.service import _check_ended
from kms.worker import Worker

DEADLINE_SECONDS = 20.0
DOUBT = CommitInDoubtError("Nobody knows.")


class Thread(Worker):
    """Ends with this error, once it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("some")
        self.error = error
        self.let_go = threading.Event()

    def run(self) -> None:
        self.let_go.wait(DEADLINE_SECONDS)
        if self.error is not None:
            raise self.error


@pytest.fixture
def started() -> Iterator[list[Thread]]:
    threads: list[Thread] = []
    yield threads
    for each in threads:
        each.let_go.set()
        assert each.join(DEADLINE_SECONDS)


def service(started: list[Thread], *threads: Thread) -> Any:
    started += threads
    for each in threads:
        each.start()
        each.stop()
    return SimpleNamespace(workers=list(threads))


def test_a_thread_that_hangs_keeps_it_from_that(started: list[Thread]) -> None:
    """Its own connection to the cache is still open."""
    ended, hangs = Thread(DOUBT), Thread()
    found = service(started, ended, hangs)
    ended.let_go.set()
    assert ended.join(DEADLINE_SECONDS)
    with pytest.raises(KafkaError, match="The some thread hangs"):
        _check_ended(found, DOUBT)


@pytest.mark.parametrize("error", [None, FencedError("another one")])
def test_who_was_fenced_as_well_ends(started: list[Thread], error: Exception | None) -> None:
    found = service(started, Thread(DOUBT), Thread(error))
    for each in started:
        each.let_go.set()
        assert each.join(DEADLINE_SECONDS)
    if error is None:
        _check_ended(found, DOUBT)
    else:
        with pytest.raises(FencedError):
            _check_ended(found, DOUBT)


def test_before_there_was_one_nothing_keeps_it() -> None:
    _check_ended(None, DOUBT)
