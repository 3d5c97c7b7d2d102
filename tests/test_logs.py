"""How the log is written, and that what repeats is counted instead."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from kms import repeats
from kms.logs import set_up_logging
from kms.repeats import Repeats, more

FIELDS = ["time", "level", "thread", "logger", "message"]


class Clock:
    """Stands for the module ``time`` in ``kms.repeats``."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(repeats, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("INFO", "json")
    log = logging.getLogger("kms.test")
    before = time.time()
    log.info('two\nlines, "%s" and \x1b', "\udcff\u00e9")
    log.debug("not this one")
    thread = threading.Thread(target=lambda: log.warning("from there"), name="producer")
    thread.start()
    thread.join()
    first, second = logged(capsys)
    assert list(first) == FIELDS
    assert first["message"] == 'two\nlines, "\udcff\u00e9" and \x1b'
    assert (first["level"], first["logger"], first["thread"]) == ("INFO", "kms.test", "MainThread")
    assert (second["level"], second["thread"]) == ("WARNING", "producer")
    seconds = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))
    assert first["time"].startswith(seconds[:13])
    assert first["time"].endswith("Z")


def test_json_lines_have_the_exception_when_there_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("INFO", "json")
    try:
        sys.exit("the reason")
    except SystemExit:
        logging.getLogger("kms.test").exception("It failed.")
    (found,) = logged(capsys)
    assert list(found) == [*FIELDS, "exception"]
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith("SystemExit: the reason")


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("WARNING", "text")
    logging.getLogger("kms.test").warning("for people")
    logging.getLogger("kms.test").info("too low")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" WARNING MainThread for people")


def test_pythons_warnings_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("INFO", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (found,) = logged(capsys)
    assert (found["logger"], found["level"]) == ("py.warnings", "WARNING")
    assert "DeprecationWarning: old" in found["message"]


def test_the_same_error_is_counted_not_repeated(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    set_up_logging("INFO", "text")
    log = logging.getLogger("kms.test")
    for _ in range(1_000):
        log.error("%s is gone", "it")
    log.error("%s is gone", "something else")
    clock.now = 61.0
    log.error("%s is gone", "it")
    clock.now = 122.0
    log.error("%s is gone", "it")
    for _ in range(2):
        log.info("again and again")
    said = [line.partition("MainThread ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "it is gone",
        "something else is gone",
        "it is gone (999 more like this since it was last said.)",
        "it is gone",
        "again and again",
        "again and again",
    ]


def test_kinds_do_not_pile_up(clock: Clock) -> None:
    found = Repeats()
    assert [found.unsaid("known"), found.unsaid("known")] == [0, None]
    for clock.now in (0.0, 61.0):
        for number in range(3_000):
            assert found.unsaid((clock.now, number)) == 0
    assert found.kinds() < 6_000
    assert not found.knows("known")
    assert found.unsaid("known") == 0
    assert (more(0), more(2)) == ("", " (2 more like this since it was last said.)")
