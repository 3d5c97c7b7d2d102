"""Loading is shown: as log lines where there is no terminal, as a bar where there is one."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from kms import progress
from kms.figures import ConsumerFigures
from kms.progress import Progress

LOADING = ConsumerFigures(assigned=3, caught_up=1, loaded=25, left_to_load=75)


def test_log_lines_every_few_seconds_where_there_is_no_terminal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("kms.progress.time.monotonic", lambda: now)
    with caplog.at_level(logging.INFO), Progress(LOADING) as shown:
        for _ in range(60):
            shown.update()
            now += 0.2
    assert [record.message for record in caplog.records] == [
        "Loading: 25 of 100 offsets (25 %)."
    ] * 2


def test_nothing_is_said_once_all_is_loaded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("kms.progress.time.monotonic", lambda: now)
    with caplog.at_level(logging.INFO), Progress(ConsumerFigures(assigned=3, caught_up=3)) as shown:
        now += 60.0
        shown.update()
    assert not caplog.records


def test_a_bar_on_a_terminal_that_goes_away_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    figures = ConsumerFigures(assigned=3, caught_up=1, loaded=25, left_to_load=75)
    with Progress(figures) as shown:
        shown.update()
        assert "25/100" in terminal.getvalue()
        figures.caught_up, figures.left_to_load = 3, 0
        shown.update()
        written = len(terminal.getvalue())
        shown.update()
        assert len(terminal.getvalue()) == written


def test_no_bar_among_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with Progress(LOADING, bar=False) as shown:
        shown.update()
    assert terminal.getvalue() == ""
