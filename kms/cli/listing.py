"""Pending schedules as a table, as lines of JSON or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kms.cli.values import shown
from kms.schedule import Schedule
from kms.store import Pending
from kms.times import iso_time

Layout = Literal["table", "json", "csv"]

_COLUMNS = (
    "id",
    "due",
    "due_ms",
    "schedule_topic",
    "partition",
    "offset",
    "target_topic",
    "key",
    "value",
    "headers",
)
_PREVIEW = 40  # characters of a key or value in the table
_ENDLESS = 100_000  # a width that nothing reaches: a pipe has no edge to wrap at


class Found(NamedTuple):
    """A pending schedule: where its record lies, and what that says."""

    pending: Pending
    schedule: Schedule


def write(layout: Layout, found: Iterable[Found], *, whole: bool) -> None:
    """Write to stdout, in the order given; ``whole`` shows every byte also in a table.

    JSON and CSV are written as they come, so any number will do.
    """
    if layout == "json":
        for each in found:
            sys.stdout.write(json.dumps(_fields(each, _exact), separators=(",", ":")) + "\n")
    elif layout == "csv":
        writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for each in found:
            fields = _fields(each, _cell)
            writer.writerow(fields | {"headers": json.dumps(fields["headers"])})
    elif whole:
        for each in found:
            sys.stdout.writelines(_details(each))
    else:
        _write_table(found)


def _fields(found: Found, of_bytes: Any) -> dict[str, Any]:
    pending, schedule = found
    values = (
        of_bytes(pending.id),
        iso_time(pending.due_ms),
        pending.due_ms,
        pending.topic,
        pending.partition,
        pending.offset,
        schedule.topic,
        of_bytes(schedule.key),
        of_bytes(schedule.value),
        [[name, of_bytes(value)] for name, value in schedule.headers],
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _exact(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def _cell(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


def _due(found: Found) -> str:
    # What no calendar has is shown as the number it is.
    return iso_time(found.pending.due_ms) or f"{found.pending.due_ms} ms"


def _details(found: Found) -> Iterator[str]:
    pending, schedule = found
    lines = [
        ("id", shown(pending.id)),
        ("due", f"{_due(found)} ({pending.due_ms})"),
        ("record", f"{pending.topic}/{pending.partition} offset {pending.offset}"),
        ("target topic", shown(schedule.topic.encode())),
        ("key", shown(schedule.key)),
        *(
            ("header", f"{shown(name.encode())}={'' if value is None else shown(value)}")
            for name, value in schedule.headers
        ),
    ]
    for name, text in lines:
        yield f"{name + ':':<14}{text}\n"
    if schedule.value is None:
        yield "value:        null\n"
    else:
        yield f"value:        {len(schedule.value)} bytes\n"
        yield shown(schedule.value, keep="\n\t") + "\n"


def _write_table(found: Iterable[Found]) -> None:
    console = Console(highlight=False)
    if console.is_terminal:
        table = Table(expand=True)
    else:
        console.width = _ENDLESS
        table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("Due", no_wrap=True)
    # In one line, where there is room: ids are there to be copied.
    table.add_column("Id", overflow="fold", min_width=36 if console.width >= 110 else None)
    table.add_column("Target topic", overflow="fold")
    table.add_column("Key", overflow="fold")
    table.add_column("Value", overflow="fold")
    table.add_column("Record", overflow="fold")
    for each in found:
        pending, schedule = each
        record = f"{pending.topic}/{pending.partition}@{pending.offset}"
        # Text, not str: nothing of it is markup.
        table.add_row(
            _due(each),
            Text(shown(pending.id)),
            Text(shown(schedule.topic.encode())),
            Text(_preview(schedule.key)),
            Text("null", style="dim") if schedule.value is None else Text(_preview(schedule.value)),
            record,
        )
    console.print(table)


def _preview(data: bytes) -> str:
    text = shown(data[: 4 * _PREVIEW])  # a character has up to four bytes
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"
