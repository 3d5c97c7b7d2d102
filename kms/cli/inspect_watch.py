"""``inspect --watch``: live, like top, until Ctrl-C; to a pipe a line a second."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kms import times
from kms.cli.found import Found, due_text, read
from kms.cli.listing import Layout, exact
from kms.cli.values import shown
from kms.settings import Settings
from kms.stop_signals import OF_A_TERMINAL, stopping_on
from kms.store import Filter
from kms.watched import Sight, Watcher

_PAUSE_SECONDS = 1.0
_HEAD_LINES = 20  # to a pipe, between two lines that name the columns
_SLOW = 10  # a second: has a decimal
_COLUMNS = "time", "pending", "failed", "received/s", "fired/s", "late", "next due"
_WIDTHS = 24, 10, 8, 11, 9, 18, 24


def watch(settings: Settings, wanted: Filter, limit: int, layout: Layout) -> None:
    """Show what goes on until Ctrl-C or SIGTERM; raises CacheError if there is nothing to see."""
    console, stop = Console(highlight=False), threading.Event()
    with (
        stopping_on(OF_A_TERMINAL, stop, lambda _: None, to_the_end=True),
        closing(Watcher(settings, wanted, limit)) as watcher,
    ):
        sight = watcher.look()  # its errors are to be read, not to be wiped off the screen
        if layout == "json" or not console.is_terminal:
            for line in _lines(layout):
                sys.stdout.write(line(sight))
                sys.stdout.flush()
                if stop.wait(_PAUSE_SECONDS):
                    return
                sight = watcher.look()
            return
        with Live(_picture(sight), console=console, screen=True, auto_refresh=False) as live:
            while not stop.wait(_PAUSE_SECONDS):
                live.update(_picture(watcher.look()), refresh=True)


def _lines(layout: Layout) -> Iterator[Any]:
    number = 0
    while True:
        if layout == "json":
            yield _json_line
        elif number % _HEAD_LINES == 0:
            yield lambda sight: _row(_COLUMNS) + _row(_cells(sight))
        else:
            yield lambda sight: _row(_cells(sight))
        number += 1


def _row(cells: tuple[str, ...]) -> str:
    padded = (cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return "  ".join(padded) + "\n"


def _cells(sight: Sight) -> tuple[str, ...]:
    return (
        times.iso_time(sight.at_ms) or "",
        _number(sight.pending),
        _number(sight.failed),
        _number(sight.received),
        _number(sight.fired),
        _late(sight),
        due_text(read(sight.next[0])) if sight.next else "-",
    )


def _json_line(sight: Sight) -> str:
    late = sight.late_seconds
    fields = {
        "time": times.iso_time(sight.at_ms),
        "source": sight.metrics_url or "cache",
        "pending": sight.pending,
        "failed": sight.failed,
        "partitions": sight.partitions,
        "received_per_second": sight.received and round(sight.received, 1),
        "fired_per_second": sight.fired and round(sight.fired, 1),
        "fired": sight.fired_ever,
        "late_mean_seconds": late and round(late[0], 6),
        "late_p99_seconds": late[1] if late and math.isfinite(late[1]) else None,
        "overdue_ms": sight.overdue_ms,
        "next": [{"id": exact(each.id), "due_ms": each.due_ms} for each in sight.next],
    }
    return json.dumps(fields, separators=(",", ":")) + "\n"


def _picture(sight: Sight) -> RenderableType:
    source = sight.metrics_url or "the cache alone: no metrics answer"
    table = Table.grid(padding=(0, 2))
    for name, text in (
        ("kms", f"{times.iso_time(sight.at_ms)}, from {source}; Ctrl-C ends"),
        ("pending", f"{_number(sight.pending)}, {_number(sight.failed)} of them failed"),
        ("partitions", sight.partitions),
        ("received", f"{_number(sight.received)} a second"),
        ("fired", f"{_number(sight.fired)} a second, {_number(sight.fired_ever)} since its start"),
        ("late", _late(sight)),
        ("overdue", _overdue(sight)),
    ):
        table.add_row(Text(name, style="bold"), Text(text))
    upcoming = Table(expand=True)
    for column in ("Next due", "In", "Id", "Target topic", "Record"):
        upcoming.add_column(column, no_wrap=True)
    for each in sight.next:
        found = read(each)
        upcoming.add_row(
            due_text(found),
            _left(each.due_ms - sight.at_ms),
            Text(shown(each.id)),
            Text(_target(found)),
            f"{each.topic}/{each.partition}@{each.offset}",
        )
    return Group(table, upcoming)


def _target(found: Found) -> str:
    if found.away is not None:
        return "(its schema is not known)"
    return "" if found.schedule is None else shown(found.schedule.topic.encode())


def _left(left_ms: int) -> str:
    return times.duration_text(left_ms // 1000 * 1000) if left_ms > 0 else "due"


def _overdue(sight: Sight) -> str:
    if not sight.overdue_ms:
        return "nothing"
    return f"the first for {times.duration_text(sight.overdue_ms)}"


def _late(sight: Sight) -> str:
    if sight.late_seconds is None:
        return "-"
    mean, most = sight.late_seconds
    if not math.isfinite(most):  # beyond the last bucket
        return f"{_seconds(mean)}, some by far"
    return f"{_seconds(mean)}, 99% {_seconds(most)}"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.4g} ms"
    return times.duration_text(round(seconds) * 1000)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) and 0 < value < _SLOW else f"{value:,.0f}"
